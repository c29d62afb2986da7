"""What a sweep measured: cells by seed, and the difference of a row to the baseline, paired by seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from physseg.sweep.significance import LEVEL

MEAN = "mean"
"""Name of the last column: the mean over the others, seed by seed."""


@dataclass(frozen=True)
class Cell:
    """One metric of one row on one data set, by seed."""

    by_seed: Mapping[int, float]

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.by_seed.values()))) if self.by_seed else math.nan

    @property
    def std(self) -> float:
        """Sample standard deviation (n - 1); NaN for fewer than two seeds."""
        return float(np.std(list(self.by_seed.values()), ddof=1)) if len(self.by_seed) > 1 else math.nan


@dataclass(frozen=True)
class Difference:
    """A row minus the baseline, paired by seed: mean, standard deviation, number of pairs, p of the paired t-test."""

    mean: float
    std: float
    pairs: int
    p: float

    @property
    def significant(self) -> bool:
        return self.p < LEVEL


def differences_by_seed(cell: Cell, baseline: Cell) -> dict[int, float]:
    """A row minus the baseline, for the seeds that both have."""
    return {s: cell.by_seed[s] - baseline.by_seed[s] for s in sorted(cell.by_seed.keys() & baseline.by_seed.keys())}


def paired_difference(cell: Cell, baseline: Cell) -> Difference:
    """Compare over the seeds both have; two-sided paired t-test, NaN for fewer than two pairs.

    Differences that are all alike have p 0, or 1 if they are zero.
    """
    values = np.array(list(differences_by_seed(cell, baseline).values()))
    if len(values) < 2:
        return Difference(float(values.mean()) if len(values) else math.nan, math.nan, len(values), math.nan)
    mean, std = float(values.mean()), float(values.std(ddof=1))
    if std == 0.0:
        return Difference(mean, std, len(values), 1.0 if mean == 0.0 else 0.0)
    t = mean / (std / math.sqrt(len(values)))
    return Difference(mean, std, len(values), float(2 * stats.t.sf(abs(t), len(values) - 1)))


@dataclass(frozen=True)
class SweepTable:
    """All cells: row name -> data set name -> Cell. Columns in the paper's order, `MEAN` last."""

    title: str
    baseline: str
    columns: Sequence[str]
    cells: Mapping[str, Mapping[str, Cell]]
    metric: str = "mIoU"

    @property
    def seeds(self) -> int:
        """Largest number of seeds in a cell."""
        return max((len(cell.by_seed) for row in self.cells.values() for cell in row.values()), default=0)

    def difference(self, row: str, column: str) -> Difference:
        """Of a row to the baseline."""
        return paired_difference(self.cells[row][column], self.cells[self.baseline][column])

    @property
    def others(self) -> list[str]:
        """The rows that are compared with the baseline."""
        return [row for row in self.cells if row != self.baseline]
