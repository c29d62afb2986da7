"""From a screening to its confirmation: the best row of each family, on seeds that chose nothing.

A screening compares many settings on few seeds, so that the best of them is also the luckiest. What it promises is
tested anew.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import yaml

from physseg.io import write_text_atomic
from physseg.sweep.cells import MEAN, SweepTable
from physseg.sweep.rows import Row
from physseg.sweep.spec import Sweep

FIRST_SEED = 100
"""Fresh seeds count from here on."""


Screening = tuple[Sweep, SweepTable]
"""A sweep and its table of the metric that decides."""


def best_rows(screenings: Sequence[Screening], families: Sequence[str]) -> list[str]:
    """Name of the row of each family whose mean over benchmarks, seeds and screenings is farthest above the baseline's.

    Args:
        families: how the names of a family's rows begin; rows that join several settings by " + " are in none.

    Raises:
        ValueError: a family without rows, or a run that is not done; a screening whose rows are others.
    """
    names = [row.name for row in screenings[0][0].rows]
    for sweep, table in screenings:
        if {row.name for row in sweep.rows} != set(names):
            raise ValueError(f"{sweep.title!r} and {screenings[0][0].title!r} have other rows; expected the same")
        missing = [name for name in names if len(_cell(table, name)) < len(sweep.seeds)]
        if missing:
            raise ValueError(
                f"{len(missing)} rows of {sweep.title!r} are not done with every seed, such as {missing[0]!r}: run the "
                "sweep first"
            )
    chosen = []
    for family in families:
        rows = [name for name in names if name.startswith(family) and " + " not in name]
        if not rows:
            raise ValueError(f"no run's name begins with {family!r}; runs are {', '.join(names)}")
        chosen.append(max(rows, key=lambda name: fmean(table.difference(name, MEAN).mean for _, table in screenings)))
    return chosen


def write_confirmation(
    sweep: Sweep, screenings: Sequence[Screening], families: Sequence[str], seeds: int, path: str | os.PathLike
) -> list[str]:
    """Write the sweep file that confirms: baseline, the best of each family, and all of them together.

    Args:
        sweep: whose settings the rows get.
        screenings: what chooses the rows, by their names: ``sweep`` itself, others, or both.
        seeds: number of fresh seeds, from `FIRST_SEED` on.
        path: of the file.

    Returns:
        Names of its rows.

    Raises:
        ValueError: as `best_rows`; too few seeds; a fresh seed that a screening used; or ``sweep`` lacks a chosen row.
    """
    fresh = list(range(FIRST_SEED, FIRST_SEED + seeds))
    if seeds < 2 or any(set(fresh) & set(screening.seeds) for screening, _ in screenings):
        raise ValueError(f"confirming takes 2 or more seeds, from {FIRST_SEED} on, that the screening has not used")
    by_name = {row.name: row for row in sweep.rows}
    names = best_rows(screenings, families)
    lacking = [name for name in names if name not in by_name]
    if lacking:
        raise ValueError(f"{sweep.title!r} has no run {lacking[0]!r}, which the screening chose")
    chosen = [by_name[name] for name in names]
    baseline = by_name[sweep.baseline]
    rows = [baseline, *chosen]
    if len(chosen) > 1:
        together = {key: value for row in chosen for key, value in row.overrides.items()}
        rows.append(Row(" + ".join(row.name for row in chosen), together))
    path = Path(path)
    # None is no value that a row sets.
    shared = {key: v for key, v in baseline.overrides.items() if all(r.overrides.get(key) == v for r in rows)}
    content = {
        "title": f"{sweep.title}: confirmation",
        "base": os.path.relpath(sweep.config_file, path.parent),
        "seeds": fresh,
        "metrics": list(sweep.metrics),
        "num_gpus": sweep.num_gpus,
        "baseline": baseline.name,
        "set": shared,
        "runs": [
            {"name": r.name, "set": {key: v for key, v in r.overrides.items() if key not in shared}} for r in rows
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    titles = ", ".join(repr(screening.title) for screening, _ in screenings)
    head = f"# Written by tools/sweep.py --confirm; the rows were chosen by {titles}.\n"
    write_text_atomic(path, head + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120))
    return [row.name for row in rows]


def _cell(table: SweepTable, row: str) -> list[float]:
    cell = table.cells[row].get(MEAN)
    return [value for value in cell.by_seed.values() if not math.isnan(value)] if cell else []
