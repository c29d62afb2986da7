"""Charts as inline SVG text: nothing to load, sharp at any size."""

import html
import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 14, 42
COLOURS = ("#0b6e99", "#d1495b", "#66a182", "#edae49", "#6a4c93", "#444444", "#9c6644", "#2ec4b6")


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], x_title: str, y_title: str) -> str:
    """Draw one line per series of (x, y) points; points that are not finite are left out."""
    clean = {name: _finite(points) for name, points in series.items()}
    clean = {name: points for name, points in clean.items() if points}
    if not clean:
        return ""
    frame = _Frame([p for points in clean.values() for p in points], x_title, y_title)
    marks = []
    for i, points in enumerate(clean.values()):
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
        colour = COLOURS[i % len(COLOURS)]
        marks.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        # A line of one point shows nothing, and few points should be told from the line between them.
        if len(points) < 10:
            marks += [f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
    return frame.svg(marks) + _key(list(clean))


def scatter_chart(groups: Mapping[str, Sequence[tuple[float, float, str]]], x_title: str, y_title: str) -> str:
    """Draw (x, y, label) points, one colour per group; the label shows when the pointer rests on a point."""
    points = [(x, y) for group in groups.values() for x, y, _ in group]
    if not _finite(points):
        return ""
    frame = _Frame(_finite(points), x_title, y_title, y_range=(0.0, 100.0))
    marks = []
    for i, group in enumerate(groups.values()):
        for x, y, label in group:
            if math.isfinite(x) and math.isfinite(y):
                title = html.escape(f"{label}: {y:.1f} at {x:.3f}")
                marks.append(
                    f'<circle cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="4" fill="{COLOURS[i % len(COLOURS)]}" '
                    f'fill-opacity="0.65"><title>{title}</title></circle>'
                )
    return frame.svg(marks) + _key(list(groups))


class _Frame:
    """Axes around points: maps values to pixels and draws ticks."""

    def __init__(self, points, x_title: str, y_title: str, y_range: tuple[float, float] | None = None) -> None:
        xs, ys = zip(*points, strict=True)
        self.x_ticks = _ticks(min(xs), max(xs))
        self.y_ticks = _ticks(*(y_range or (min(*ys, 0.0), max(ys))))
        self.titles = html.escape(x_title), html.escape(y_title)

    def x(self, value: float) -> float:
        return _LEFT + (value - self.x_ticks[0]) / (self.x_ticks[-1] - self.x_ticks[0]) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.y_ticks[0]) / (self.y_ticks[-1] - self.y_ticks[0])
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def svg(self, marks: list[str]) -> str:
        parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="chart">']
        for value in self.y_ticks:
            y = self.y(value)
            parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e6ea"/>')
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
        for value in self.x_ticks:
            place = f'x="{self.x(value):.1f}" y="{HEIGHT - _BOTTOM + 18}"'
            parts.append(f'<text {place} text-anchor="middle">{_short(value)}</text>')
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle" class="axis">{self.titles[0]}</text>')
        parts.append(
            f'<text transform="translate(14 {(_TOP + HEIGHT - _BOTTOM) / 2}) rotate(-90)" text-anchor="middle" '
            f'class="axis">{self.titles[1]}</text>'
        )
        return "".join([*parts, *marks, "</svg>"])


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    if high <= low:
        low, high = low - 0.5, low + 0.5
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10000 else f"{value:.4g}"


def _finite(points: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    return [(p[0], p[1]) for p in points if math.isfinite(p[0]) and math.isfinite(p[1])]


def _key(names: list[str]) -> str:
    chips = [
        f'<span class="chip"><i style="background:{COLOURS[i % len(COLOURS)]}"></i>{html.escape(name)}</span>'
        for i, name in enumerate(names)
    ]
    return f'<div class="key">{"".join(chips)}</div>'
