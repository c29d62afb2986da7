"""A sweep file: base config, named overrides and grid, seeds -> the list of runs."""

import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from physseg.config import load_config
from physseg.config.yaml_files import read_config_chain

_KEYS = {"title", "base", "output", "seeds", "set", "runs", "grid", "baseline", "num_gpus", "slurm"}


@dataclass(frozen=True)
class Row:
    """One line of the table: a name and what it sets, config key -> value."""

    name: str
    overrides: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """Name of its folder."""
        return re.sub(r"[^A-Za-z0-9.=+-]+", "_", self.name).strip("_.") or "run"


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
    """

    title: str
    config_file: Path
    folder: Path
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    baseline: str
    num_gpus: int = 1
    slurm: Mapping[str, Any] = field(default_factory=dict)

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
        path: YAML with the keys of docs/sweeps.md; with ``_BASE_`` it takes over the keys of another sweep file.
        output: folder of the runs; wins over the file's ``output``, whose default is output/sweeps/<file name>.

    Raises:
        FileNotFoundError: the file or its base config is missing.
        ValueError: an unknown key in the file or in an override, no run, or two rows of one name; names them.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Sweep file not found: {path}. Shipped sweeps are in configs/sweeps/.")
    content: dict[str, Any] = {}
    for source, part in read_config_chain(path):
        if "base" in part:
            part["base"] = source.parent / str(part["base"])
        content.update(part)
    unknown = content.keys() - _KEYS
    if unknown:
        raise ValueError(f"{path}: unknown key {sorted(unknown)[0]}; known are {', '.join(sorted(_KEYS))}.")
    if "base" not in content:
        raise ValueError(f"{path}: base is missing, the config file that the runs start from.")
    rows = _rows(content, path)
    names = [row.name for row in rows]
    repeated = [name for name in names if names.count(name) > 1]
    slugs = [row.slug for row in rows]
    if repeated or len(set(slugs)) < len(slugs):
        raise ValueError(f"{path}: two runs are called {(repeated or names)[0]!r}, or alike but for punctuation.")
    baseline = content.get("baseline", names[0])
    if baseline not in names:
        raise ValueError(f"{path}: baseline {baseline!r} is no run; runs are {', '.join(names)}.")
    seeds = content.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ValueError(f"{path}: seeds must be a list of integers from 0 on; got {seeds!r}.")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{path}: seeds has one twice: {seeds}.")
    sweep = Sweep(
        title=content.get("title", path.stem),
        config_file=Path(os.path.normpath(content["base"])),
        folder=Path(output or content.get("output") or Path("output") / "sweeps" / path.stem),
        seeds=tuple(seeds),
        rows=rows,
        baseline=baseline,
        num_gpus=content.get("num_gpus", 1),
        slurm=content.get("slurm") or {},
    )
    for run in sweep.runs[: len(rows)]:
        try:
            load_config(run.config_file, [*run.opts, "SEED", run.seed])
        except ValueError as error:
            raise ValueError(f"{path}, run {run.row.name!r}: {error}") from error
    return sweep


def _rows(content: Mapping[str, Any], path: Path) -> tuple[Row, ...]:
    """Every named run with every combination of the grid; either may be left out."""
    shared = _flat(content.get("set") or {}, path)
    named = []
    for entry in content.get("runs") or []:
        if not isinstance(entry, dict) or "name" not in entry or entry.keys() - {"name", "set"}:
            raise ValueError(f"{path}: each of runs has a name and, below set, its overrides; got {entry!r}.")
        if not isinstance(entry["name"], str):
            raise ValueError(
                f"{path}: a run's name must be text; put {entry['name']!r} in quotes (YAML reads on and off so)."
            )
        named.append((entry["name"], _flat(entry.get("set") or {}, path)))
    grid = content.get("grid") or {}
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{path}: grid {key} must have a list of values; got {values!r}.")
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if not named and not grid:
        raise ValueError(f"{path}: neither runs nor grid: nothing to run.")
    rows = []
    for (name, overrides), combination in itertools.product(named or [("", {})], combinations):
        parts = [name] * bool(name) + [f"{_short(key)}={_shown(value)}" for key, value in combination.items()]
        rows.append(Row(", ".join(parts), {**shared, **overrides, **combination}))
    return tuple(rows)


def _flat(mapping: Mapping[str, Any], path: Path, prefix: str = "") -> dict[str, Any]:
    """Nested or dotted overrides as dotted ones."""
    if not isinstance(mapping, dict):
        raise ValueError(f"{path}: overrides must be a mapping of config keys; got {mapping!r}.")
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, dict):
            flat.update(_flat(value, path, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _short(key: str) -> str:
    """MODEL.STRUCTURE.WEIGHT -> STRUCTURE.WEIGHT."""
    return ".".join(key.split(".")[-2:])


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
