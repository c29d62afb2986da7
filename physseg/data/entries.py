"""Data sets that a config declares: a list of mappings, or of YAML files that hold one each."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from physseg.config.yaml_files import read_yaml


@dataclass(frozen=True)
class Entry:
    """One declared data set.

    where: it stands, for messages. folder: what its paths are relative to. fields: as they were given.
    """

    where: str
    folder: Path
    fields: Mapping[str, Any]

    @property
    def name(self) -> str:
        """For DATASETS.TRAIN and DATASETS.TEST."""
        return self.fields["name"]

    def path(self, field: str) -> str:
        """The path that a field gives, "" if it gives none."""
        value = self.fields.get(field)
        return os.path.normpath(self.folder / Path(value).expanduser()) if value else ""


def declared_entries(
    key: str, entries: Sequence[Mapping | str], required: Sequence[str], optional: Sequence[str], text: Sequence[str]
) -> list[Entry]:
    """Read the entries of a key, such as DATASETS.CUSTOM.

    Args:
        required, optional: fields that an entry has; "name" is required.
        text: those of them whose value must be text where it is given.

    Raises:
        ValueError: an entry is no mapping, lacks a field, has an unknown one, or one that is no text; or two have one
            name. The message names the entry.
        FileNotFoundError: the file of an entry is missing.
    """
    result = [_read(entry, f"{key}[{index}]", required, optional, text) for index, entry in enumerate(entries)]
    names = [entry.name for entry in result]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ValueError(f"{key} names {', '.join(doubles)} more than once")
    return result


def _read(
    entry: Mapping | str, where: str, required: Sequence[str], optional: Sequence[str], text: Sequence[str]
) -> Entry:
    expected = f"{', '.join(required)} and, if wanted, {', '.join(optional)}"
    folder = Path()
    if isinstance(entry, str):
        path = Path(entry).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"{where}: no file {path}; expected a YAML file with {expected}")
        where, folder, entry = str(path), path.parent, read_yaml(path)
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: expected a mapping with {expected}, got {type(entry).__name__}")
    missing = [field for field in required if not entry.get(field)]
    unknown = sorted(set(map(str, entry)) - {*required, *optional})
    if missing or unknown:
        problem = f"no {', '.join(missing)}" if missing else f"unknown {', '.join(unknown)}"
        raise ValueError(f"{where}: {problem}; it takes {expected}")
    for field in text:
        if not isinstance(entry.get(field) or "", str):
            raise ValueError(f"{where}: {field} must be text, got {entry[field]!r}")
    return Entry(where, folder, entry)
