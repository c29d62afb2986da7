"""Named runs and a grid -> the rows of a sweep's table, each with its overrides."""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from physseg.config.rules import Text, shown

# Each run's own.
_OWN = {"SEED": "list them below seeds", "OUTPUT_DIR": "every run has a folder of its own below output"}
_MOST_ROWS = 1_000


@dataclass(frozen=True)
class Row:
    """One line of the table: a name and what it sets, config key -> value."""

    name: str
    overrides: Mapping[str, Any]

    @property
    def slug(self) -> str:
        """Name of its folder."""
        return re.sub(r"[^A-Za-z0-9.=+-]+", "_", self.name).strip("_.") or "run"


def read_rows(content: Mapping[str, Any], path: Path) -> tuple[Row, ...]:
    """Every named run with every combination of the grid; either may be left out.

    Args:
        content: of a sweep file, with ``set``, ``runs`` and ``grid``.
        path: of that file, for messages.

    Raises:
        ValueError: they are of another form, there is nothing to run, too much, or a key that is each run's own.
    """
    shared = _flat(content.get("set") or {}, path)
    named = []
    entries = content.get("runs") or []
    if not isinstance(entries, list):
        raise ValueError(f"{path}: runs must be a list of runs, each with a name; got {shown(entries)}.")
    for entry in entries:
        if not isinstance(entry, dict) or "name" not in entry or entry.keys() - {"name", "set"}:
            raise ValueError(f"{path}: each of runs has a name and, below set, its overrides; got {shown(entry)}.")
        if not isinstance(entry["name"], str):
            raise ValueError(
                f"{path}: a run's name must be text; put {entry['name']!r} in quotes (YAML reads on and off so)."
            )
        if not Text(most=150).allows(entry["name"]):
            raise ValueError(
                f"{path}: a run's name must be one line of at most 150 letters; got {shown(entry['name'])}."
            )
        named.append((entry["name"], _flat(entry.get("set") or {}, path)))
    grid = content.get("grid") or {}
    if not isinstance(grid, dict):
        raise ValueError(f"{path}: grid must be a mapping, config key to a list of values; got {shown(grid)}.")
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{path}: grid {key} must have a list of values; got {shown(values)}.")
    number = math.prod(map(len, grid.values())) * max(len(named), 1)
    if number > _MOST_ROWS:
        raise ValueError(f"{path}: {number:,} rows are too many for one table; at most {_MOST_ROWS:,}.")
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    if not named and not grid:
        raise ValueError(f"{path}: neither runs nor grid: nothing to run.")
    rows = []
    for (name, overrides), combination in itertools.product(named or [("", {})], combinations):
        parts = [name] * bool(name) + [f"{_short(key)}={_shown(value)}" for key, value in combination.items()]
        rows.append(Row(", ".join(parts), {**shared, **overrides, **combination}))
        for key, instead in _OWN.items():
            if key in rows[-1].overrides:
                raise ValueError(f"{path}, run {rows[-1].name!r}: {key} is not to be set; {instead}.")
    return tuple(rows)


def _flat(mapping: Mapping[str, Any], path: Path, prefix: str = "") -> dict[str, Any]:
    """Nested or dotted overrides as dotted ones."""
    if not isinstance(mapping, dict):
        raise ValueError(f"{path}: overrides must be a mapping of config keys; got {shown(mapping)}.")
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        new = _flat(value, path, f"{name}.") if isinstance(value, dict) and value else {name: value}
        twice = flat.keys() & new.keys()
        if twice:
            raise ValueError(f"{path}: {min(twice)} is set twice.")
        flat.update(new)
    return flat


def _short(key: str) -> str:
    """MODEL.STRUCTURE.WEIGHT -> STRUCTURE.WEIGHT."""
    return ".".join(key.split(".")[-2:])


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
