"""Tables of a sweep: mean and standard deviation over seeds, in the paper's column order, and what is significant."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from physseg.data.specs import REAL, find_spec
from physseg.io import write_json_atomic, write_text_atomic
from physseg.sweep.cells import MEAN, Cell, Difference, SweepTable
from physseg.sweep.comparisons import comparison_lines
from physseg.sweep.run_folder import read_results
from physseg.sweep.significance import LEVEL
from physseg.sweep.spec import Sweep


def collect(sweep: Sweep, metric: str = "mIoU") -> SweepTable:
    """Table of the runs that are done and have the metric; a data set on which it is no number has no column."""
    found: dict[str, dict[int, dict[str, float]]] = {row.name: {} for row in sweep.rows}
    for run in sweep.runs:
        results = read_results(run, metric) or {}
        results = {name: value for name, value in results.items() if not math.isnan(value)}
        if results:
            found[run.row.name][run.seed] = {**results, MEAN: float(np.mean(list(results.values())))}
    names = dict.fromkeys(name for by_seed in found.values() for result in by_seed.values() for name in result)
    columns = sorted(names, key=_position)
    cells = {
        row: {
            column: Cell({seed: result[column] for seed, result in by_seed.items() if column in result})
            for column in columns
        }
        for row, by_seed in found.items()
    }
    return SweepTable(sweep.title, sweep.baseline, columns, cells, metric)


def title_of(column: str) -> str:
    """Heading of a data set's column, such as "A-847"."""
    spec = find_spec(column)
    return spec.title if spec else column


def markdown(table: SweepTable) -> str:
    """Two tables: mean ± standard deviation, and differences to the baseline."""

    def grid(first: str, value: Callable[[str, str], str], rows: Sequence[str]) -> list[str]:
        lines = ["| " + " | ".join([first, *map(title_of, table.columns)]) + " |"]
        lines.append("|---|" + "---:|" * len(table.columns))
        for row in rows:
            cells = [row.replace("|", "\\|"), *(value(row, column) for column in table.columns)]
            lines.append("| " + " | ".join(cells) + " |")
        return lines

    lines = [f"## {table.title}", "", f"{table.metric}, mean ± standard deviation over up to {table.seeds} seeds.", ""]
    lines += grid("", lambda row, column: _mean_std(table.cells[row][column], " ± "), list(table.cells))
    if table.others:
        test = f"* where p < {LEVEL} (two-sided paired t-test, not corrected for the number of comparisons)"
        lines += ["", f"Difference to {table.baseline}, paired by seed; {test}.", ""]
        lines += grid("", lambda row, column: _signed(table.difference(row, column)), table.others)
        if MEAN in table.columns:
            lines += ["", *comparison_lines([table])]
    return "\n".join(lines) + "\n"


def latex(table: SweepTable) -> str:
    """A tabular with mean and standard deviation."""
    plus_minus = r" \pm "
    special = {c: "\\" + c for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}

    def safe(text: str) -> str:
        return "".join(special.get(c, c) for c in text)

    lines = [rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\hline"]
    lines += [" & ".join(["", *(safe(title_of(column)) for column in table.columns)]) + r" \\", r"\hline"]
    for row, cells in table.cells.items():
        values = [f"${_mean_std(cells[column], plus_minus)}$".replace("$-$", "-") for column in table.columns]
        lines.append(" & ".join([safe(row), *values]) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def as_csv(table: SweepTable) -> str:
    """One line per row, data set and seed: what every other form is made of."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "dataset", "seed", table.metric])
    for row, cells in table.cells.items():
        for column in table.columns:
            for seed, value in sorted(cells[column].by_seed.items()):
                writer.writerow([row, column, seed, repr(value)])
    return out.getvalue()


def as_json(table: SweepTable) -> dict:
    """Everything, differences and p-values included; NaN as None."""

    def number(value: float) -> float | None:
        return None if math.isnan(value) else value

    rows = []
    for row, cells in table.cells.items():
        values = {}
        for column in table.columns:
            difference = table.difference(row, column)
            values[column] = {
                "by_seed": {str(seed): value for seed, value in sorted(cells[column].by_seed.items())},
                "mean": number(cells[column].mean),
                "std": number(cells[column].std),
                "difference": {key: number(value) for key, value in vars(difference).items()},
            }
        rows.append({"name": row, "values": values})
    return {
        "title": table.title,
        "metric": table.metric,
        "baseline": table.baseline,
        "columns": list(table.columns),
        "rows": rows,
    }


def write_table(table: SweepTable, folder: str | Path) -> list[Path]:
    """Write table.md, table.csv, table.tex, table.json and table.png; return their paths.

    Tables of a metric other than mIoU are called table-<metric>.
    """
    from physseg.sweep.plot import write_plot

    folder = Path(folder)
    stem = "table" if table.metric == "mIoU" else f"table-{table.metric}"
    paths = [folder / f"{stem}.{suffix}" for suffix in ("md", "csv", "tex", "json", "png")]
    write_text_atomic(paths[0], markdown(table))
    write_text_atomic(paths[1], as_csv(table))
    write_text_atomic(paths[2], latex(table))
    write_json_atomic(paths[3], as_json(table))
    write_plot(table, paths[4])
    return paths


def _position(column: str) -> tuple[int, int]:
    spec = find_spec(column)
    key = spec.key.removeprefix("toy_") if spec else ""
    return (2 if column == MEAN else 1, REAL.index(key) if key in REAL else len(REAL))


def _mean_std(cell: Cell, between: str) -> str:
    if not cell.by_seed:
        return "-"
    return f"{cell.mean:.2f}" + ("" if math.isnan(cell.std) else f"{between}{cell.std:.2f}")


def _signed(difference: Difference) -> str:
    if math.isnan(difference.mean):
        return "-"
    spread = "" if math.isnan(difference.std) else f" ± {difference.std:.2f}"
    return f"{difference.mean:+.2f}{spread}{'*' if difference.significant else ''}"
