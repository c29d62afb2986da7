"""Plot of a sweep: one panel per data set, one mark per row, every seed a dot."""

import os
from pathlib import Path

import numpy as np

from physseg.io import atomic_write
from physseg.sweep.cells import SweepTable
from physseg.sweep.table import title_of


def write_plot(table: SweepTable, path: str | os.PathLike) -> None:
    """Write a PNG: mean with standard deviation as a bar, seeds as dots, the baseline's mean as a dashed line."""
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    columns, rows = list(table.columns) or ["no results"], list(table.cells)
    across = min(4, len(columns))
    down = -(-len(columns) // across)
    figure = Figure(figsize=(2.6 * across + 1.6, (0.32 * len(rows) + 1.0) * down + 0.5), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    places = np.arange(len(rows))[::-1]
    for axis, column in zip(axes, columns, strict=False):
        for place, row in zip(places, rows, strict=True):
            cell = table.cells[row].get(column)
            if cell is None or not cell.by_seed:
                continue
            spread = None if np.isnan(cell.std) else cell.std
            axis.errorbar(cell.mean, place, xerr=spread, fmt="s", color="#0b6e99", capsize=3, markersize=5)
            axis.plot(
                list(cell.by_seed.values()), [place - 0.22] * len(cell.by_seed), ".", color="#d1495b", markersize=4
            )
        base = table.cells[table.baseline].get(column)
        if base is not None and base.by_seed:
            axis.axvline(base.mean, color="#888888", linestyle="--", linewidth=0.8, zorder=0)
        axis.set_title(title_of(column), fontsize=9)
        axis.set_yticks(places, rows, fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="x", linewidth=0.3)
    for axis in axes[len(columns) :]:
        axis.set_visible(False)
    figure.suptitle(f"{table.title}: {table.metric}, mean ± standard deviation, seeds as dots", fontsize=10)
    with atomic_write(Path(path)) as temporary:
        figure.savefig(temporary, dpi=130)
