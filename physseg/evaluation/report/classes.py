"""What the report says about single classes, and its tables' cells."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from physseg.evaluation.report.charts import Chart, scatter_chart

_BARS = 15


@dataclass(frozen=True)
class Table:
    """Cells as text. marked: rows that stand out."""

    head: list[str]
    body: list[list[str]]
    marked: int = 0


@dataclass(frozen=True)
class Bar:
    """A class: its names, its IoU, and whether training had it."""

    name: str
    iou: float
    unseen: bool

    @property
    def shown(self) -> str:
        return self.name.split(",")[0].strip()


@dataclass(frozen=True)
class Bars:
    """A benchmark's classes, best first. columns: (heading, bars). folded: all, where columns hold a part of them."""

    title: str
    columns: list[tuple[str, list[Bar]]]
    folded: list[Bar]
    has_unseen: bool


@dataclass(frozen=True)
class SeenUnseen:
    """mIoU over classes that training had and had not. charts: IoU against similarity, by benchmark."""

    table: Table
    charts: list[tuple[str, Chart]] = field(default_factory=list)


def score(value: float | int | None) -> str:
    """A number as the tables show it: counts whole, scores with two decimals, nothing as a dash."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def seen_unseen(results: Sequence[dict]) -> SeenUnseen | None:
    """mIoU over seen and unseen classes, and IoU against text similarity; None without such splits."""
    kinds = [k for k in ("by_name", "by_similarity") if any(k in r.get("seen_unseen", {}) for r in results)]
    if not kinds:
        return None
    body = []
    for result in results:
        splits = [result.get("seen_unseen", {}).get(kind, {}) for kind in kinds]
        fields = ("seen", "num_seen", "unseen", "num_unseen")
        body.append([result["title"], *(score(split.get(name)) for split in splits for name in fields)])
    head = [cell for k in kinds for cell in (f"seen {k.replace('_', ' ')}", "classes", "unseen", "classes")]
    charts = [(result["title"], _similarity_chart(result)) for result in results]
    return SeenUnseen(Table(["", *head], body), [(title, chart) for title, chart in charts if chart])


def _similarity_chart(result: dict) -> Chart | None:
    split = result.get("seen_unseen", {})
    if "by_similarity" not in split:
        return None
    groups: dict[str, list] = {"seen by name": [], "unseen": []}
    columns = (split["by_name"]["flags"], split["by_similarity"]["similarity"], result["iou"], result["classes"])
    for seen, similarity, iou, name in zip(*columns, strict=False):
        if iou is not None:
            groups["seen by name" if seen else "unseen"].append((similarity, iou, name))
    return scatter_chart(groups, "cosine to the nearest training class", "IoU")


def class_bars(result: dict) -> Bars:
    """The classes present, best first; of many, the best and the worst, and all of them folded away."""
    flags = result.get("seen_unseen", {}).get("by_name", {}).get("flags", [])
    bars = [
        Bar(name, iou, bool(flags) and i < len(flags) and not flags[i])
        for i, (iou, name) in enumerate(zip(result["iou"], result["classes"], strict=True))
        if iou is not None
    ]
    bars.sort(key=lambda bar: (-bar.iou, bar.name))
    if len(bars) > 2 * _BARS:
        columns, folded = [("best", bars[:_BARS]), ("worst", bars[-_BARS:])], bars
    else:
        middle = math.ceil(len(bars) / 2)
        columns, folded = [("", bars[:middle]), ("", bars[middle:])], []
    return Bars(result["title"], columns, folded, bool(flags))
