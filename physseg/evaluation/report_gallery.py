"""The report's pictures: one strip of panels per run, with one legend per image."""

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from physseg.evaluation.pictures import PANELS

_PICTURES_NOTE = (
    "<p>The third picture chooses among the classes that the image's annotation holds, the fourth among the whole "
    "vocabulary. Errors of the fourth: green is right, red wrong, white unlabelled.</p>"
)


@dataclass(frozen=True)
class Run:
    """One evaluated checkpoint: its name in the page, its result records, and the folder they lie in."""

    name: str
    results: Sequence[dict]
    folder: Path


def galleries(runs: Sequence[Run]) -> list[str]:
    """HTML of each benchmark's pictures, runs above each other; empty if no run has any."""
    galleries = [_gallery(runs, result) for result in runs[-1].results]
    return [_PICTURES_NOTE, *galleries] if any(galleries) else []


def _gallery(runs: Sequence[Run], result: dict) -> str:
    per_run = []
    for run in runs:
        index = run.folder / f"{result['key']}.pictures" / "pictures.json"
        if index.exists():
            per_run.append((run, index.parent, {entry["name"]: entry for entry in json.loads(index.read_text())}))
    if not per_run:
        return ""
    figures = []
    for name in per_run[-1][2]:
        lines = [(run, folder, entries[name]) for run, folder, entries in per_run if name in entries]
        figures.append(_figure(name, lines))
    return f"<h3>{html.escape(result['title'])}</h3>{''.join(figures)}"


def _figure(name: str, lines: Sequence[tuple[Run, Path, dict]]) -> str:
    strips, legend = [], {}
    for run, folder, entry in lines:
        cells = [
            f'<div><img alt="{html.escape(PANELS[panel])}" src="{_data_uri(folder / file)}">'
            f"<span>{html.escape(PANELS[panel])}</span></div>"
            for panel, file in entry["panels"].items()
        ]
        label = f"<figcaption>{html.escape(run.name)}</figcaption>" if len(lines) > 1 else ""
        strips.append(f'{label}<div class="panels">{"".join(cells)}</div>')
        legend |= {item["name"]: item["colour"] for item in entry["legend"]}
    chips = [f'<span class="chip"><i style="background:{c}"></i>{html.escape(n)}</span>' for n, c in legend.items()]
    caption = f"<figcaption>{html.escape(name)}</figcaption>"
    return f'<figure>{caption}{"".join(strips)}<div class="legend">{"".join(chips)}</div></figure>'


def _data_uri(path: Path) -> str:
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
