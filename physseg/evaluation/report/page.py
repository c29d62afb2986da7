"""One self-contained HTML page of an evaluation: tables, curves, per-class bars, gallery, protocol.

Images are embedded, charts are inline SVG; the page opens from a mail attachment without a server or a network.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from physseg.data.specs import find_spec
from physseg.evaluation.report.charts import Chart, line_chart
from physseg.evaluation.report.classes import Table, class_bars, score, seen_unseen
from physseg.evaluation.report.gallery import Run, galleries
from physseg.evaluation.tables import TIME_HEAD, Row, columns_of, published_for, time_shares
from physseg.io import write_text_atomic


def write_report(
    path: str | Path,
    runs: Sequence[Run],
    *,
    title: str = "Open-vocabulary segmentation: evaluation",
    metrics_file: str | Path | None = None,
    extra_rows: Sequence[Row] = (),
) -> Path:
    """Write the page.

    Args:
        path: of the HTML file.
        runs: checkpoints, the one of interest last; pictures that all runs have stand above each other.
        title: heading.
        metrics_file: Detectron2's ``metrics.json`` of a training run, for the curves.
        extra_rows: more lines for the main table, after the runs.
    """
    rows = [Row(run.name, {r["key"]: r["metrics"]["mIoU"] for r in run.results}) for run in runs] + list(extra_rows)
    main = runs[-1]
    text = (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            subtitle=_subtitle(main),
            benchmarks=_main_table(rows),
            details=[(run.name, _detail_table(run)) for run in runs],
            curves=_curves(metrics_file) if metrics_file and Path(metrics_file).exists() else [],
            seen_unseen=seen_unseen(main.results),
            classes=[class_bars(result) for result in main.results],
            galleries=galleries(runs),
            runs=runs,
            protocol=_protocol,
        )
    )
    write_text_atomic(path, text)
    return Path(path)


def read_curves(path: str | Path) -> dict[str, list[tuple[float, float]]]:
    """Read Detectron2's ``metrics.json`` (one JSON object per line): (iteration, value) points by metric name.

    A torn last line, left by an interruption, is skipped; a resumed run's lines replace the earlier ones.

    Raises:
        ValueError: the file is another one; the message names the line.
    """
    points: dict[str, dict[int, float]] = {}
    lines = Path(path).read_bytes().splitlines()
    for number, line in enumerate(lines or [b""], 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines) > 1:
                continue
            entry = None
        if not isinstance(entry, dict) or type(entry.get("iteration")) is not int:
            raise ValueError(
                f'{path}, line {number}: expected a JSON object with "iteration", as metrics.json of a training has on '
                f"every line; got {line[:80].decode(errors='replace')!r}"
            )
        for name, value in entry.items():
            if name != "iteration" and isinstance(value, int | float) and math.isfinite(value):
                points.setdefault(name, {})[entry["iteration"]] = value
    return {name: sorted(values.items()) for name, values in points.items()}


def _environment() -> Environment:
    """Everything is escaped, and a name that the page misspells is an error."""
    loader = PackageLoader("physseg.evaluation.report", ".")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _subtitle(run: Run) -> str:
    protocol = run.results[0]["protocol"]
    clip = protocol["clip"]
    return f"{run.name}: CLIP {clip['name']}, {protocol['inference']}, {protocol['device']}, {protocol['date']}"


def _main_table(rows: Sequence[Row]) -> Table:
    columns = columns_of(rows)
    ours = len(rows)
    rows = [*rows, *published_for(columns, {row.design for row in rows})]
    titles = [find_spec(key).title if find_spec(key) else key for key in columns]
    body = [[row.name, *(score(row.values.get(c)) for c in columns)] for row in rows]
    head = ["", *titles]
    if any(row.source != rows[0].source for row in rows):
        head.append("source")
        body = [[*line, row.source] for line, row in zip(body, rows, strict=True)]
    return Table(head, body, marked=ours)


def _detail_table(run: Run) -> Table:
    metrics = list(dict.fromkeys(metric for r in run.results for metric in r["metrics"]))
    body = []
    for r in run.results:
        speed = r["timing"]["images_per_second"]
        numbers = [score(r["metrics"].get(metric)) for metric in metrics]
        count = str(r["protocol"]["dataset"]["images"])
        body.append([r["title"], *numbers, count, f"{speed:.1f}" if speed else "-", *time_shares(r)])
    return Table(["", *metrics, "images", "images/s", *TIME_HEAD], body)


def _curves(path: str | Path) -> list[Chart]:
    curves = read_curves(path)
    losses = {name: points for name, points in curves.items() if "loss" in name}
    scores = {name: points for name, points in curves.items() if name.endswith("mIoU")}
    charts = [line_chart(losses, "iteration", "loss"), line_chart(scores, "iteration", "mIoU")]
    return [chart for chart in charts if chart]


def _protocol(result: dict) -> str:
    shown = {k: v for k, v in result["protocol"].items() if k != "config"}
    shown |= {"peak_memory": result["peak_memory"], "seconds": round(result["timing"]["seconds"], 1)}
    return json.dumps(shown, indent=2)
