"""A sweep file: base config, named overrides and grid, seeds -> the list of runs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from physseg.config import load_config
from physseg.config.rules import Int, List, Rule, Text, did_you_mean, shown
from physseg.config.yaml_files import read_config_chain
from physseg.engine.hooks import check_best_metric
from physseg.evaluation.extra_metrics import metric_names
from physseg.shipped_configs import shipped_config, where_configs_are
from physseg.sweep.rows import Row, read_rows

# What a sweep file may say. None: checked where it is read.
_KEYS: dict[str, Rule | None] = {
    "title": Text(most=200),
    "base": Text(),
    "output": Text(),
    "seeds": None,
    "set": None,
    "runs": None,
    "grid": None,
    "baseline": Text(),
    "num_gpus": Int(1, 10_000),
    "slurm": None,
    "metrics": List(Text(most=64), least=1, distinct=True),
}


@dataclass(frozen=True)
class Run:
    """One training: a row with a seed."""

    row: Row
    seed: int
    folder: Path
    config_file: Path
    num_gpus: int = 1

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"{self.row.name}, seed {self.seed}"

    @property
    def opts(self) -> list[str]:
        """The row's overrides as the command line takes them; values of no string type as Python literals."""
        return [str(word) for pair in self.row.overrides.items() for word in pair]

    @property
    def arguments(self) -> list[str]:
        """Arguments of tools/train_net.py. It always resumes: that starts afresh where there is nothing yet."""
        gpus = ["--num-gpus", str(self.num_gpus)] if self.num_gpus > 1 else []
        own = ["SEED", str(self.seed), "OUTPUT_DIR", str(self.folder)]
        return ["--config-file", str(self.config_file), "--resume", *gpus, *self.opts, *own]


@dataclass(frozen=True)
class Sweep:
    """What a sweep file says.

    Attributes:
        baseline: name of the row that differences are taken to.
        slurm: parameters for submitit; empty where the file has none.
        metrics: what tables are made of, the first being the one that conclusions are drawn from.
    """

    title: str
    config_file: Path
    folder: Path
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    baseline: str
    num_gpus: int = 1
    slurm: Mapping[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("mIoU",)

    @property
    def runs(self) -> list[Run]:
        """All trainings; every row's first seed comes before any second, so that a table shows early."""
        return [
            Run(row, seed, self.folder / row.slug / f"seed{seed}", self.config_file, self.num_gpus)
            for seed in self.seeds
            for row in self.rows
        ]


def load_sweep(path: str | os.PathLike, output: str | os.PathLike | None = None) -> Sweep:
    """Read a sweep file; every run's overrides are checked against the config before anything runs.

    Args:
        path: YAML with the keys of docs/sweeps.md, or the name of a shipped sweep; with ``_BASE_`` it takes over the
            keys of another sweep file.
        output: folder of the runs; wins over the file's ``output``, whose default is output/sweeps/<file name>.

    Raises:
        FileNotFoundError: the file or its base config is missing.
        ValueError: an unknown key or a wrong value in the file or in an override, no run, two rows of one name, or an
            output that is no folder; names them.
    """
    path = Path(path)
    if not path.is_file():
        shipped = shipped_config(path, "sweeps")
        if shipped is None:
            raise FileNotFoundError(f"Sweep file not found: {path}. {where_configs_are(path, 'sweeps')}")
        path = shipped
    content: dict[str, Any] = {}
    for source, part in read_config_chain(path):
        _check_keys(part, source)
        if "base" in part:
            part["base"] = _beside(source, part["base"])
        content.update(part)
    if "base" not in content:
        raise ValueError(f"{path}: base is missing, the config file that the runs start from.")
    rows = read_rows(content, path)
    names = [row.name for row in rows]
    slugs = [row.slug for row in rows]
    alike = [name for name, slug in zip(names, slugs, strict=True) if slugs.count(slug) > 1]
    if alike:
        raise ValueError(f"{path}: two runs are called {alike[0]!r}, or alike but for punctuation.")
    longest = max(rows, key=lambda row: len(row.slug))
    if len(longest.slug) > 200:
        raise ValueError(f"{path}: the run {longest.name[:80]!r} ... has too long a name for a folder.")
    baseline = content.get("baseline", names[0])
    if baseline not in names:
        raise ValueError(f"{path}: baseline {baseline!r} is no run; runs are {', '.join(names)}.")
    slurm = content.get("slurm") or {}
    if not isinstance(slurm, dict):
        raise ValueError(f"{path}: slurm must be a mapping, submitit's parameters; got {shown(slurm)}.")
    seeds = content.get("seeds", [0])
    if not List(Int(), least=1).allows(seeds):
        raise ValueError(f"{path}: seeds must be a list of integers from 0 on; got {seeds!r}.")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{path}: seeds has one twice: {seeds}.")
    sweep = Sweep(
        title=content.get("title", path.stem),
        config_file=content["base"],
        folder=_output_folder(Path(output or content.get("output") or Path("output") / "sweeps" / path.stem)),
        seeds=tuple(seeds),
        rows=rows,
        baseline=baseline,
        num_gpus=content.get("num_gpus", 1),
        slurm=slurm,
        metrics=tuple(content.get("metrics", ["mIoU"])),
    )
    _check_runs(sweep, path)
    return sweep


def _check_keys(content: Mapping[str, Any], path: Path) -> None:
    for key, value in content.items():
        if key not in _KEYS:
            advice = did_you_mean(key, _KEYS)
            raise ValueError(
                f"{path}: unknown key {key}; known are {', '.join(sorted(_KEYS))}.{' ' + advice if advice else ''}"
            )
        rule = _KEYS[key]
        if rule is not None and not rule.allows(value):
            raise ValueError(f"{path}: {key} must be {rule}; got {shown(value)}.")


def _beside(sweep_file: Path, base: str) -> Path:
    return Path(os.path.normpath(sweep_file.parent / Path(base).expanduser()))


def _output_folder(folder: Path) -> Path:
    folder = folder.expanduser()
    for place in (folder, *folder.parents):
        if os.path.exists(place) and not os.path.isdir(place):
            raise ValueError(f"The sweep's output {folder} cannot be a folder: {place} is a file. Give another.")
    return folder


def _check_runs(sweep: Sweep, path: Path) -> None:
    """Check every row's config; what is wrong with the base alone is told once."""
    load_config(sweep.config_file)
    problems, known = [], {}
    for run in sweep.runs[: len(sweep.rows)]:
        try:
            cfg = load_config(run.config_file, [*run.opts, "SEED", run.seed])
            check_best_metric(cfg)
        except ValueError as error:
            problems.append(f"{path}, run {run.row.name!r}: {error}")
        else:
            known |= dict.fromkeys(metric_names(cfg))
    if problems:
        raise ValueError("\n".join(problems))
    unknown = [metric for metric in sweep.metrics if metric not in known]
    if unknown:
        raise ValueError(
            f"{path}: no run is evaluated by {', '.join(unknown)}; with these configs metrics are {', '.join(known)} "
            "(keys of TEST turn on others, see docs/evaluation.md)."
        )
