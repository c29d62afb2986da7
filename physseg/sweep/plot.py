"""Plot of a sweep: a panel per data set with one mark per row, every seed a dot, and a panel of differences."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from physseg.io import atomic_write
from physseg.sweep.cells import MEAN, SweepTable, differences_by_seed
from physseg.sweep.significance import interval_half_width
from physseg.sweep.table import title_of

_MEAN_COLOUR, _SEED_COLOUR = "#0b6e99", "#d1495b"


def write_plot(table: SweepTable, path: str | os.PathLike) -> None:
    """Write a PNG: mean with standard deviation as a bar, seeds as dots, the baseline's mean as a dashed line.

    The last panel has what conclusions are drawn from: each row's difference to the baseline on the mean, paired by
    seed, with its 95 % confidence interval.
    """
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    columns, rows = list(table.columns) or ["no results"], list(table.cells)
    panels = len(columns) + (MEAN in columns)
    across = min(4, panels)
    down = -(-panels // across)
    figure = Figure(figsize=(2.6 * across + 1.6, (0.32 * len(rows) + 1.0) * down + 0.5), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    places = dict(zip(rows, np.arange(len(rows))[::-1], strict=True))
    for axis, column in zip(axes, columns, strict=False):
        for row, place in places.items():
            cell = table.cells[row].get(column)
            if cell is not None and cell.by_seed:
                _mark(axis, place, cell.mean, cell.std, list(cell.by_seed.values()))
        base = table.cells[table.baseline].get(column)
        if base is not None and base.by_seed:
            axis.axvline(base.mean, color="#888888", linestyle="--", linewidth=0.8, zorder=0)
        axis.set_title(title_of(column), fontsize=9)
    if MEAN in columns:
        _draw_differences(axes[len(columns)], table, places)
    for axis in axes[:panels]:
        axis.set_yticks(list(places.values()), rows, fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="x", linewidth=0.3)
    for axis in axes[panels:]:
        axis.set_visible(False)
    figure.suptitle(f"{table.title}: {table.metric}, mean ± standard deviation, seeds as dots", fontsize=10)
    with atomic_write(Path(path)) as temporary:
        figure.savefig(temporary, dpi=130)


def _draw_differences(axis, table: SweepTable, places: Mapping[str, int]) -> None:
    shown = [0.0]
    for row in table.others:
        by_seed = list(differences_by_seed(table.cells[row][MEAN], table.cells[table.baseline][MEAN]).values())
        if by_seed:
            difference = table.difference(row, MEAN)
            _mark(axis, places[row], difference.mean, interval_half_width(difference.std, difference.pairs), by_seed)
        shown += by_seed
    axis.axvline(0.0, color="#888888", linestyle="--", linewidth=0.8, zorder=0)
    # The intervals of two or three seeds are many times as wide as all that was seen: they run out of the panel.
    margin = 0.3 * (max(shown) - min(shown)) or 1.0
    axis.set_xlim(min(shown) - margin, max(shown) + margin)
    axis.set_title("mean, difference, 95 % interval", fontsize=9)


def _mark(axis, place: int, mean: float, spread: float, by_seed: Sequence[float]) -> None:
    bar = None if np.isnan(spread) else spread
    axis.errorbar(mean, place, xerr=bar, fmt="s", color=_MEAN_COLOUR, capsize=3, markersize=5)
    axis.plot(by_seed, [place - 0.22] * len(by_seed), ".", color=_SEED_COLOUR, markersize=4)
