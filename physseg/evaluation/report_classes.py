"""The report's tables cell by cell, and what it says about single classes."""

import html
import math
from collections.abc import Sequence

from physseg.evaluation.charts import scatter_chart

_BARS = 15


def html_table(head: Sequence[str], body: Sequence[Sequence[str]], classes: Sequence[str] = ()) -> str:
    """HTML of a table; ``classes`` are the rows' CSS classes."""
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = []
    for i, line in enumerate(body):
        kind = f' class="{classes[i]}"' if classes and classes[i] else ""
        lines.append(f"<tr{kind}>" + "".join(_cell(cell, head[j]) for j, cell in enumerate(line)) + "</tr>")
    return f'<div class="scroll"><table><tr>{cells}</tr>{"".join(lines)}</table></div>'


def _cell(text: str, column: str) -> str:
    kind = ' class="source"' if column == "source" else ""
    return f"<td{kind}>{html.escape(text)}</td>"


def score(value: float | int | None) -> str:
    """A number as the tables show it: counts whole, scores with two decimals, nothing as a dash."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def seen_unseen_section(results: Sequence[dict]) -> str:
    """HTML of mIoU over seen and unseen classes, and of IoU against text similarity; empty without such splits."""
    kinds = [k for k in ("by_name", "by_similarity") if any(k in r.get("seen_unseen", {}) for r in results)]
    if not kinds:
        return ""
    body = []
    for result in results:
        splits = [result.get("seen_unseen", {}).get(kind, {}) for kind in kinds]
        fields = ("seen", "num_seen", "unseen", "num_unseen")
        body.append([result["title"], *(score(split.get(field)) for split in splits for field in fields)])
    head = [cell for k in kinds for cell in (f"seen {k.replace('_', ' ')}", "classes", "unseen", "classes")]
    note = (
        "<p>mIoU over the classes that training had and over those it had not, and how many of each. A class is seen "
        "by similarity when its text feature is close enough to a training class's.</p>"
    )
    charts = "".join(_similarity_chart(result) for result in results)
    return f'{note}{html_table(["", *head], body)}<div class="charts">{charts}</div>'


def _similarity_chart(result: dict) -> str:
    split = result.get("seen_unseen", {})
    if "by_similarity" not in split:
        return ""
    groups: dict[str, list] = {"seen by name": [], "unseen": []}
    columns = (split["by_name"]["flags"], split["by_similarity"]["similarity"], result["iou"], result["classes"])
    for seen, similarity, iou, name in zip(*columns, strict=False):
        if iou is not None:
            groups["seen by name" if seen else "unseen"].append((similarity, iou, name))
    chart = scatter_chart(groups, "cosine to the nearest training class", "IoU")
    return f"<div><h3>{html.escape(result['title'])}</h3>{chart}</div>"


def class_bars(result: dict) -> str:
    """HTML bars of the classes present, best first; of many, the best and the worst, and the rest folded away."""
    flags = result.get("seen_unseen", {}).get("by_name", {}).get("flags", [])
    scored = [
        (iou, name, bool(flags) and i < len(flags) and not flags[i])
        for i, (iou, name) in enumerate(zip(result["iou"], result["classes"], strict=True))
        if iou is not None
    ]
    scored.sort(key=lambda entry: (-entry[0], entry[1]))
    hidden = ""
    if len(scored) > 2 * _BARS:
        everything = "".join(map(_bar, scored))
        hidden = (
            f'<details><summary>all {len(scored)} classes</summary><div class="columns">{everything}</div></details>'
        )
        columns = (("best", scored[:_BARS]), ("worst", scored[-_BARS:]))
    else:
        middle = math.ceil(len(scored) / 2)
        columns = (("", scored[:middle]), ("", scored[middle:]))
    shown = "".join(
        f'<div><span class="soft">{name}</span>{"".join(map(_bar, entries))}</div>' for name, entries in columns
    )
    key = '<div class="key"><span class="chip"><i style="background:#0b6e99"></i>seen by name</span>'
    key += '<span class="chip"><i style="background:#d1495b"></i>unseen</span></div>' if flags else "</div>"
    head = f"<h3>{html.escape(result['title'])}</h3>{key if flags else ''}"
    return f'{head}<div class="columns">{shown}</div>{hidden}'


def _bar(entry: tuple[float, str, bool]) -> str:
    iou, name, unseen = entry
    shown, kind = html.escape(name.split(",")[0].strip()), ' class="unseen"' if unseen else ""
    track = f'<span class="track"><i{kind} style="width:{iou:.1f}%"></i></span>'
    return f'<div class="bar"><span title="{html.escape(name)}">{shown}</span>{track}<span>{iou:.1f}</span></div>'
