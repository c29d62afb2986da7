"""One self-contained HTML page of an evaluation: tables, curves, per-class bars, gallery, protocol.

Images are embedded, charts are inline SVG; the page opens from a mail attachment without a server or a network.
"""

import html
import json
from collections.abc import Sequence
from pathlib import Path

from physseg.data.specs import find_spec
from physseg.evaluation.charts import line_chart
from physseg.evaluation.report_classes import class_bars, html_table, score, seen_unseen_section
from physseg.evaluation.report_gallery import Run, galleries
from physseg.evaluation.report_style import STYLE
from physseg.evaluation.tables import TIME_HEAD, Row, columns_of, published_for, time_shares
from physseg.io import write_text_atomic

__all__ = ["Run", "read_curves", "write_report"]

_METRICS_NOTE = (
    "<p>mIoU_old divides by the classes present or predicted (Detectron2 0.6 and mmseg); N_gt and N_gt_or_pred are the "
    "two class counts. Time: the model up to its logits; resizing them and choosing labels; counting; files.</p>"
)


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
    sections = [
        f"<h1>{html.escape(title)}</h1><p>{_subtitle(main)}</p>",
        _section("Benchmarks", _main_table(rows)),
        _section("All metrics", _METRICS_NOTE, *(_detail_table(run) for run in runs)),
        _section("Training", _curves(metrics_file)) if metrics_file and Path(metrics_file).exists() else "",
        _section("Seen and unseen classes", seen_unseen_section(main.results)),
        _section("Per class", *(class_bars(result) for result in main.results)),
        _section("Pictures", *galleries(runs)),
        _section("Protocol", *(_protocol(run) for run in runs)),
    ]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body>{''.join(sections)}</body></html>\n"
    )
    write_text_atomic(path, page)
    return Path(path)


def read_curves(path: str | Path) -> dict[str, list[tuple[float, float]]]:
    """Read Detectron2's ``metrics.json`` (one JSON object per line): (iteration, value) points by metric name.

    A torn last line, left by an interruption, is skipped; a resumed run's lines replace the earlier ones.
    """
    points: dict[str, dict[int, float]] = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        for name, value in entry.items():
            if name != "iteration" and "iteration" in entry and isinstance(value, int | float):
                points.setdefault(name, {})[entry["iteration"]] = value
    return {name: sorted(values.items()) for name, values in points.items()}


def _section(title: str, *parts: str) -> str:
    body = "".join(parts)
    return f"<h2>{html.escape(title)}</h2>{body}" if body else ""


def _subtitle(run: Run) -> str:
    protocol = run.results[0]["protocol"]
    clip = protocol["clip"]
    text = f"{run.name}: CLIP {clip['name']}, {protocol['inference']}, {protocol['device']}, {protocol['date']}"
    return html.escape(text)


def _main_table(rows: Sequence[Row]) -> str:
    columns = columns_of(rows)
    ours = len(rows)
    rows = [*rows, *published_for(columns)]
    titles = [find_spec(key).title if find_spec(key) else key for key in columns]
    body = [[row.name, *(score(row.values.get(c)) for c in columns)] for row in rows]
    head = ["", *titles]
    if any(row.source != rows[0].source for row in rows):
        head.append("source")
        body = [[*line, row.source] for line, row in zip(body, rows, strict=True)]
    note = "<p>mIoU: mean IoU over the classes present in the ground truth, x100.</p>"
    marks = ["ours" if i < ours else "" for i in range(len(rows))]
    return note + html_table(head, body, marks)


def _detail_table(run: Run) -> str:
    metrics = list(dict.fromkeys(metric for r in run.results for metric in r["metrics"]))
    body = []
    for r in run.results:
        speed = r["timing"]["images_per_second"]
        numbers = [score(r["metrics"].get(metric)) for metric in metrics]
        count = str(r["protocol"]["dataset"]["images"])
        body.append([r["title"], *numbers, count, f"{speed:.1f}" if speed else "-", *time_shares(r)])
    head = ["", *metrics, "images", "images/s", *TIME_HEAD]
    return f"<h3>{html.escape(run.name)}</h3>{html_table(head, body)}"


def _curves(path: str | Path) -> str:
    curves = read_curves(path)
    losses = {name: points for name, points in curves.items() if "loss" in name}
    scores = {name: points for name, points in curves.items() if name.endswith("mIoU")}
    charts = [line_chart(losses, "iteration", "loss"), line_chart(scores, "iteration", "mIoU")]
    return f'<div class="charts">{"".join(f"<div>{chart}</div>" for chart in charts if chart)}</div>'


def _protocol(run: Run) -> str:
    parts = []
    for result in run.results:
        shown = {k: v for k, v in result["protocol"].items() if k != "config"}
        shown |= {"peak_memory": result["peak_memory"], "seconds": round(result["timing"]["seconds"], 1)}
        text = html.escape(json.dumps(shown, indent=2))
        parts.append(f"<details><summary>{html.escape(result['title'])}</summary><pre>{text}</pre></details>")
    config = html.escape(run.results[0]["protocol"]["config"])
    parts.append(f"<details><summary>whole config</summary><pre>{config}</pre></details>")
    return f"<h3>{html.escape(run.name)}</h3>{''.join(parts)}"
