"""What conclusions are drawn from: rows against their baselines on the mean, corrected for how many are compared."""

import math
from collections.abc import Sequence

from physseg.sweep.cells import MEAN, Difference, SweepTable
from physseg.sweep.significance import detectable_difference, holm, interval_half_width


def comparison_lines(tables: Sequence[SweepTable]) -> list[str]:
    """Markdown: every row of every table but the baselines, corrected together by Holm's method.

    Tables without a finished run have no lines, and count as no comparison.
    """
    tables = [table for table in tables if MEAN in table.columns]
    found = [(table, row, table.difference(row, MEAN)) for table in tables for row in table.others]
    adjusted = holm([difference.p for _, _, difference in found])
    baselines = " or ".join(dict.fromkeys(table.baseline for table in tables))
    lines = [
        f"The mean's difference to {baselines}: 95 % confidence interval, p of the paired t-test, p after Holm's "
        f"correction for these {len(found)} comparisons, and the true difference that a test corrected for as many "
        "would have found four times out of five.",
        "",
        "|  | difference | 95 % interval | pairs | p | p (Holm) | detectable |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (table, row, difference), p in zip(found, adjusted, strict=True):
        name = row if len(tables) == 1 else f"{table.title}: {row}"
        lines.append("| " + " | ".join([name.replace("|", "\\|"), *_cells(difference, p, len(found))]) + " |")
    return lines


def _cells(difference: Difference, adjusted: float, comparisons: int) -> list[str]:
    mean, std, pairs = difference.mean, difference.std, difference.pairs
    half = interval_half_width(std, pairs)
    return [
        _number(mean, "+.2f"),
        "-" if math.isnan(half) else f"{mean - half:+.2f} to {mean + half:+.2f}",
        str(pairs),
        _number(difference.p, ".2g"),
        _number(adjusted, ".2g"),
        _number(detectable_difference(std, pairs, comparisons), ".2f"),
    ]


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
