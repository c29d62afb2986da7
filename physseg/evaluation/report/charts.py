"""Charts by matplotlib as SVG within a page: nothing to load, sharp at any size, colours that follow the page's."""

import io
import math
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

COLOURS = ("#0b6e99", "#d1495b", "#66a182", "#edae49", "#6a4c93", "#444444", "#9c6644", "#2ec4b6")
_SOFT, _LINE = "#5d6873", "#e3e6ea"
# What the drawing's colours become in the page, whose style sheet has them for light and dark.
_VARIABLES = {_SOFT: "var(--soft)", _LINE: "var(--line)"}
_VARIABLES |= {colour: f"var(--series-{index})" for index, colour in enumerate(COLOURS)}
_SERIES = "series"
_SIZE = (6.4, 3.0)  # inches of 100 pixels


@dataclass(frozen=True)
class Chart:
    """svg: the drawing, safe to stand in a page. key: (name, colour) of each series, colours for a style sheet."""

    svg: Markup
    key: list[tuple[str, str]]


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], x_title: str, y_title: str) -> Chart | None:
    """One line per series of (x, y) points; points that are not finite are left out; None if none is left."""
    clean = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in series.items()}
    clean = {name: points for name, points in clean.items() if points}
    if not clean:
        return None
    figure, axes = _axes(x_title, y_title)
    for index, points in enumerate(clean.values()):
        # A line of one point shows nothing, and few points should be told from the line between them.
        marker = "o" if len(points) < 10 else None
        axes.plot(
            *zip(*points, strict=True), color=_colour(index), lw=1.8, marker=marker, ms=6, gid=f"{_SERIES}{index}"
        )
    axes.set_ylim(bottom=min(0, *(y for points in clean.values() for _, y in points)))
    return Chart(_svg(figure), _key(clean))


def scatter_chart(groups: Mapping[str, Sequence[tuple[float, float, str]]], x_title: str, y_title: str) -> Chart | None:
    """(x, y, label) points, one colour per group, y from 0 to 100; a label shows when the pointer rests on its point.

    None if there is no finite point.
    """
    clean = {name: [p for p in points if all(map(math.isfinite, p[:2]))] for name, points in groups.items()}
    if not any(clean.values()):
        return None
    figure, axes = _axes(x_title, y_title)
    titles = {}
    for index, points in enumerate(clean.values()):
        if points:
            x, y, labels = zip(*points, strict=True)
            titles[f"{_SERIES}{index}"] = [f"{n}: {b:.1f} at {a:.3f}" for a, b, n in zip(x, y, labels, strict=True)]
            axes.scatter(x, y, s=36, color=_colour(index), alpha=0.65, linewidths=0, gid=f"{_SERIES}{index}")
    axes.set_ylim(-2, 102)
    return Chart(_svg(figure, titles), _key(clean))


def _axes(x_title: str, y_title: str):
    """A figure of its own, in no window's list, with a frame as light as the page."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_title, color=_SOFT)
    axes.set_ylabel(y_title, color=_SOFT)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.grid(axis="y", color=_LINE, lw=1)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=_SOFT)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / 1000:g}k" if abs(v) >= 10_000 else f"{v:.4g}"))
    axes.margins(x=0.02)
    return figure, axes


def _svg(figure: Figure, titles: Mapping[str, Sequence[str]] | None = None) -> Markup:
    """The figure as an element of a page.

    Args:
        titles: for a collection of points, by its gid, what each point says.
    """
    file = io.BytesIO()
    # Text stays text, and names within the file are the same every time.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "physseg", "font.size": 9}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    root = ET.fromstring(file.getvalue())
    for element in list(root.iter()):
        # In a page, names need no namespaces; style sheets and descriptions would be the whole page's.
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        for child in list(element):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                element.remove(child)
    for group in root.iter("g"):
        # Several charts of one page must not share names; those of shapes are made of their content.
        name = group.attrib.pop("id", "")
        if name.startswith(_SERIES):
            group.set("data-series", name.removeprefix(_SERIES))
        texts = (titles or {}).get(name)
        for point, text in zip(group.iter("use"), texts or (), strict=bool(texts)):
            ET.SubElement(point, "title").text = text
    for size in ("width", "height"):
        root.attrib.pop(size)
    root.attrib |= {"class": "chart", "role": "img"}
    text = ET.tostring(root, encoding="unicode")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return Markup(text)


def _colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def _key(names: Mapping) -> list[tuple[str, str]]:
    return [(name, _VARIABLES[_colour(index)]) for index, name in enumerate(names)]
