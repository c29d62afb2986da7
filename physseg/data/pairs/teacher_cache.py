"""A teacher's features of every training image's views, made once: half precision, in blocks, resumable.

A folder holds ``features.json`` (what they were made of), ``ids.txt`` (an image's id on each line) and
``block-000000.npy``, ...: float16 (images of the block, V, E) each, rows in the order of the ids. A block is there
whole or not at all.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from physseg.data.images import BrokenFileError
from physseg.io import atomic_write, write_json_atomic, write_text_atomic

BLOCK = 1024
_SETTINGS, _IDS = "features.json", "ids.txt"


def plan_cache(
    folder: str | os.PathLike, ids: Sequence[str], settings: dict[str, Any], shape: tuple[int, int]
) -> "Plan":
    """What is still to be made of a cache of these images.

    Args:
        ids: of the images, in their order.
        settings: JSON values that decide the features: teacher, grids, ...
        shape: (V, E).

    Raises:
        ValueError: the folder holds features of other images or other settings; the message says which differ.
    """
    folder = Path(folder).expanduser()
    settings = _identity(ids, settings, shape)
    if (folder / _SETTINGS).is_file():
        _check_same(folder, settings)
    missing = [k for k in range(-(-len(ids) // BLOCK)) if not _block(folder, k).is_file()]
    return Plan(folder, list(ids), settings, shape, missing)


class Plan:
    """A cache to be made.

    Attributes:
        missing: numbers of the blocks that are not there yet.
        bytes: what they will take.
    """

    def __init__(
        self, folder: Path, ids: list[str], settings: dict[str, Any], shape: tuple[int, int], missing: list[int]
    ) -> None:
        self.folder, self.ids, self.settings, self.shape, self.missing = folder, ids, settings, shape, missing
        self.bytes = 2 * shape[0] * shape[1] * sum(len(self.indices(k)) for k in missing)

    def indices(self, block: int) -> range:
        """Indices of a block's images."""
        return range(block * BLOCK, min((block + 1) * BLOCK, len(self.ids)))

    def check_space(self) -> None:
        """Raise OSError where the disk has not enough room; the message says how much is needed."""
        place = self.folder
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if free < self.bytes:
            raise OSError(f"{self.folder}: {self.bytes / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")

    def write(self, features: Iterable[np.ndarray]) -> Iterator[int]:
        """Write the missing blocks; yields the number of images done after each image.

        Args:
            features: (V, E) of every image of the missing blocks, in their order; NaN for one that cannot be read.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # Who they are first: half a cache is known for what it is.
        write_text_atomic(self.folder / _IDS, "".join(f"{name}\n" for name in self.ids))
        write_json_atomic(self.folder / _SETTINGS, self.settings)
        rows, done = iter(features), 0
        for block in self.missing:
            values = np.empty((len(self.indices(block)), *self.shape), np.float16)
            for row in range(len(values)):
                values[row] = next(rows)
                done += 1
                yield done
            with atomic_write(_block(self.folder, block)) as temporary:
                np.save(temporary, values)


class TeacherFeatures:
    """Features of a finished cache, read from disk as they are asked for.

    Args:
        folder: of the cache.
        settings, shape: as in `plan_cache`: what the model expects.

    Raises:
        FileNotFoundError: there is none, or it is not finished; the message says how to make it.
        ValueError: it was made with other settings.
    """

    def __init__(self, folder: str | os.PathLike, settings: dict[str, Any], shape: tuple[int, int]) -> None:
        self.folder = Path(folder).expanduser()
        make = "make it with tools/make_teacher_features.py (docs/without_masks.md)"
        if not (self.folder / _SETTINGS).is_file():
            raise FileNotFoundError(f"MODEL.ZEROSEG.TEACHER.FEATURES: no cache in {os.path.abspath(folder)}; {make}")
        ids = (self.folder / _IDS).read_text(encoding="utf-8").splitlines()
        _check_same(self.folder, _identity(ids, settings, shape))
        missing = [k for k in range(-(-len(ids) // BLOCK)) if not _block(self.folder, k).is_file()]
        if missing:
            raise FileNotFoundError(
                f"MODEL.ZEROSEG.TEACHER.FEATURES: {len(missing)} of {-(-len(ids) // BLOCK)} blocks are missing in "
                f"{self.folder}: run tools/make_teacher_features.py again, it goes on where it stopped"
            )
        self._rows = {name: row for row, name in enumerate(ids)}
        self._blocks: dict[int, np.ndarray] = {}

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._rows

    def __getitem__(self, image_id: str) -> np.ndarray:
        """float16 (V, E).

        Raises:
            KeyError: no such image.
            BrokenFileError: the image could not be read when the cache was made.
        """
        if image_id not in self._rows:
            raise KeyError(f"{self.folder} has no features of {image_id}: they were made of other images")
        block, row = divmod(self._rows[image_id], BLOCK)
        if block not in self._blocks:
            self._blocks[block] = np.load(_block(self.folder, block), mmap_mode="r")
        features = np.array(self._blocks[block][row])
        if np.isnan(features).any():
            raise BrokenFileError(f"{image_id} could not be read when the features in {self.folder} were made")
        return features


def _block(folder: Path, number: int) -> Path:
    return folder / f"block-{number:06d}.npy"


def _identity(ids: Sequence[str], settings: dict[str, Any], shape: tuple[int, int]) -> dict[str, Any]:
    digest = hashlib.sha256("".join(f"{name}\n" for name in ids).encode()).hexdigest()
    return settings | {"images": len(ids), "ids_sha256": digest, "views": shape[0], "channels": shape[1]}


def _check_same(folder: Path, settings: dict[str, Any]) -> None:
    try:
        found = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / _SETTINGS} cannot be read ({error}); remove the folder and start again") from None
    other = [key for key in settings if not isinstance(found, dict) or found.get(key) != settings[key]]
    if other:
        told = "; ".join(f"{key} {found.get(key) if isinstance(found, dict) else '?'}" for key in other)
        wanted = "; ".join(f"{key} {settings[key]}" for key in other)
        raise ValueError(
            f"the teacher features in {folder} were made with {told}; expected {wanted}: name another folder "
            "(MODEL.ZEROSEG.TEACHER.FEATURES), or remove this one"
        )
