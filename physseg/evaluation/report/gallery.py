"""The report's pictures: one strip of panels per run, with one legend per image."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from physseg.evaluation.pictures import PANELS


@dataclass(frozen=True)
class Run:
    """One evaluated checkpoint: its name in the page, its result records, and the folder they lie in."""

    name: str
    results: Sequence[dict]
    folder: Path


@dataclass(frozen=True)
class Figure:
    """One image. strips: by run, (title, data URI) of its panels. legend: (name, colour)."""

    name: str
    strips: dict[str, list[tuple[str, str]]]
    legend: dict[str, str]


def galleries(runs: Sequence[Run]) -> dict[str, list[Figure]]:
    """Each benchmark's figures by its title; benchmarks without pictures are left out."""
    found = {result["title"]: _figures(runs, result) for result in runs[-1].results}
    return {title: figures for title, figures in found.items() if figures}


def _figures(runs: Sequence[Run], result: dict) -> list[Figure]:
    per_run = []
    for run in runs:
        index = run.folder / f"{result['key']}.pictures" / "pictures.json"
        if index.exists():
            per_run.append((run, index.parent, {entry["name"]: entry for entry in json.loads(index.read_text())}))
    names = per_run[-1][2] if per_run else {}
    return [
        _figure(name, [(run, folder, entries[name]) for run, folder, entries in per_run if name in entries])
        for name in names
    ]


def _figure(name: str, lines: Sequence[tuple[Run, Path, dict]]) -> Figure:
    strips: dict[str, list[tuple[str, str]]] = {}
    legend: dict[str, str] = {}
    for run, folder, entry in lines:
        strips[run.name] = [(PANELS[panel], _data_uri(folder / file)) for panel, file in entry["panels"].items()]
        legend |= {item["name"]: item["colour"] for item in entry["legend"]}
    return Figure(name, strips, legend)


def _data_uri(path: Path) -> str:
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
