"""What the raw formats share: jobs, lookup tables, and messages about missing inputs."""

import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from physseg.data.images import write_label_map
from physseg.data.specs import BenchmarkSpec
from physseg.io import atomic_write


class Job(NamedTuple):
    """One image to convert. ``name``: file name of the outputs without suffix; ``source``: format's own."""

    name: str
    source: Any


class MissingInputError(FileNotFoundError):
    """Raw files are missing; the message names them and says where they come from."""


def require(path: Path, what: str) -> Path:
    """``path``, if it exists.

    Raises:
        MissingInputError: it does not.
    """
    if not path.exists():
        raise MissingInputError(f"missing {what}: {path.absolute()}; see datasets/README.md for where to get it")
    return path


def require_all(folder: Path, names: Sequence[str], suffix: str, what: str) -> None:
    """Check that every ``folder/name + suffix`` exists, by one folder listing.

    Raises:
        MissingInputError: some do not; the message counts them and names the first.
    """
    there = set(os.listdir(require(folder, f"folder of {what}")))
    missing = [name + suffix for name in names if name + suffix not in there]
    if missing:
        raise MissingInputError(
            f"{len(missing)} of {len(names)} {what} are missing in {folder}: {few(missing)}; unpack the archive again"
        )


def few(names: Sequence[str], limit: int = 5) -> str:
    """The first names, for a message: ``"a, b, c, ..."``."""
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")


def stems(folder: Path, suffix: str) -> list[str]:
    """Sorted names, without suffix, of the visible files with that suffix."""
    return sorted(name[: -len(suffix)] for name in os.listdir(folder) if name.endswith(suffix) and name[0] != ".")


def read_list(path: Path) -> list[str]:
    """Non-empty lines of a list of image names; a second column, as VOC's per-class lists have, is dropped."""
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


@lru_cache(maxsize=8)
def lookup_table(spec: BenchmarkSpec, size: int) -> np.ndarray:
    """uint8 or uint16 (size,): raw value -> train id.

    Where no class has the value: the background class if there is one and the value is not void, else the ignore label.
    """
    dtype = np.uint8 if spec.ignore_label <= 255 else np.uint16
    table = np.full(size, spec.ignore_label if spec.background is None else spec.background, dtype=dtype)
    table[[value for value in spec.raw_void if value < size]] = spec.ignore_label
    for train_id, raw_id in enumerate(spec.raw_ids):
        if raw_id < size:
            table[raw_id] = train_id
    return table


def to_train_ids(raw: np.ndarray, spec: BenchmarkSpec, source: str | os.PathLike) -> np.ndarray:
    """Map raw values to train ids by an explicit table.

    Args:
        raw: (H, W) of any integer dtype.
        spec: whose ``raw_ids``, ``raw_maximum`` and ``raw_void`` to use.
        source: file, for messages.

    Returns:
        uint8, or uint16 where the ignore label is above 255, (H, W): train ids and the ignore label.

    Raises:
        ValueError: ``raw`` is no 2-D integer array, or holds a value that the format does not have.
    """
    if raw.ndim != 2 or not np.issubdtype(raw.dtype, np.integer):
        raise ValueError(f"{source}: expected a 2-D array of integers, got {raw.dtype} {raw.shape}")
    if raw.size == 0:
        raise ValueError(f"{source}: the label map is empty")
    largest = int(raw.max())
    if int(raw.min()) < 0 or (spec.raw_maximum is not None and largest > spec.raw_maximum):
        illegal = set(np.unique(raw).tolist()) - set(spec.raw_void) - set(spec.raw_ids)
        illegal = sorted(v for v in illegal if v < 0 or (spec.raw_maximum is not None and v > spec.raw_maximum))
        if illegal:
            void = f" or {', '.join(map(str, spec.raw_void))}" if spec.raw_void else ""
            raise ValueError(
                f"{source}: value {few([str(v) for v in illegal])} is none of {spec.title}'s (0 to {spec.raw_maximum}"
                f"{void}); is this another data set or version?"
            )
    return lookup_table(spec, largest + 1)[raw]


def save_labels(job: Job, labels: np.ndarray, spec: BenchmarkSpec, root: Path) -> None:
    """Write the job's label map."""
    with atomic_write(spec.labels_path(root) / f"{job.name}{spec.label_ext}") as temporary:
        write_label_map(temporary, labels)
