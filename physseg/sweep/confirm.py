"""From a screening to its confirmation: the best row of each family, on seeds that chose nothing.

A screening compares many settings on few seeds, so that the best of them is also the luckiest. What it promises is
tested anew.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import yaml

from physseg.io import write_text_atomic
from physseg.sweep.cells import MEAN, SweepTable
from physseg.sweep.rows import Row
from physseg.sweep.spec import Sweep

FIRST_SEED = 100
"""Fresh seeds count from here on."""


def best_rows(sweep: Sweep, table: SweepTable, families: Sequence[str]) -> list[Row]:
    """The row of each family whose mean over benchmarks and seeds is farthest above the baseline's.

    Args:
        table: of the metric that decides.
        families: how the names of a family's rows begin; rows that join several settings by " + " are in none.

    Raises:
        ValueError: a family without rows, or a run that is not done.
    """
    missing = [row.name for row in sweep.rows if len(_cell(table, row.name)) < len(sweep.seeds)]
    if missing:
        raise ValueError(
            f"{len(missing)} rows are not done with every seed, such as {missing[0]!r}: run the sweep first"
        )
    chosen = []
    for family in families:
        rows = [row for row in sweep.rows if row.name.startswith(family) and " + " not in row.name]
        if not rows:
            raise ValueError(f"no run's name begins with {family!r}; runs are {', '.join(r.name for r in sweep.rows)}")
        chosen.append(max(rows, key=lambda row: table.difference(row.name, MEAN).mean))
    return chosen


def write_confirmation(
    sweep: Sweep, table: SweepTable, families: Sequence[str], seeds: int, path: str | os.PathLike
) -> list[str]:
    """Write the sweep file that confirms: baseline, the best of each family, and all of them together.

    Args:
        seeds: number of fresh seeds, from `FIRST_SEED` on.
        path: of the file.

    Returns:
        Names of its rows.

    Raises:
        ValueError: as `best_rows`; too few seeds; or a fresh seed that the screening used.
    """
    fresh = list(range(FIRST_SEED, FIRST_SEED + seeds))
    if seeds < 2 or set(fresh) & set(sweep.seeds):
        raise ValueError(f"confirming takes 2 or more seeds, from {FIRST_SEED} on, that the sweep has not used")
    chosen = best_rows(sweep, table, families)
    (baseline,) = (row for row in sweep.rows if row.name == sweep.baseline)
    rows = [baseline, *chosen]
    if len(chosen) > 1:
        together = {key: value for row in chosen for key, value in row.overrides.items()}
        rows.append(Row(" + ".join(row.name for row in chosen), together))
    path = Path(path)
    content = {
        "title": f"{sweep.title}: confirmation",
        "base": os.path.relpath(sweep.config_file, path.parent),
        "seeds": fresh,
        "metrics": list(sweep.metrics),
        "num_gpus": sweep.num_gpus,
        "baseline": baseline.name,
        "runs": [{"name": row.name, "set": dict(row.overrides)} for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"# Written from the finished screening {sweep.title!r} by tools/sweep.py --confirm.\n"
    write_text_atomic(path, head + yaml.safe_dump(content, sort_keys=False))
    return [row.name for row in rows]


def _cell(table: SweepTable, row: str) -> list[float]:
    cell = table.cells[row].get(MEAN)
    return [value for value in cell.by_seed.values() if not math.isnan(value)] if cell else []
