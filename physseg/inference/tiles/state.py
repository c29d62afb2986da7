"""What a large picture's prediction has reached, on disk, so that a stopped run goes on where it was.

A folder holds the labels so far (raw, row by row), two strips of blended rows, and ``progress.json``, which is
replaced when a row of windows is done: what it does not count is written again.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np

from physseg.io import write_json_atomic

_PROGRESS = "progress.json"


class TileState:
    """Labels of a picture being made.

    Args:
        folder: made if it is not there; one that another job left, with another `key`, is emptied.
        key: all that the labels depend on.
        shape: (height, width) of the picture. dtype: of the labels, uint8 or uint16.
        labels: number of label values, without that for no data.

    Attributes:
        rows: rows of windows that are done. counts: pixels by label. scores: sum of their probabilities by label.
    """

    def __init__(self, folder: Path, key: dict, shape: tuple[int, int], dtype: np.dtype, labels: int) -> None:
        self.folder, self.key, self.shape, self.dtype = folder, key, shape, np.dtype(dtype)
        self.rows = 0
        self.counts, self.scores = np.zeros(labels, np.int64), np.zeros(labels)
        found = self._read()
        if found is None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        else:
            self.rows = found["rows"]
            self.counts[:], self.scores[:] = found["counts"], found["scores"]
        (folder / "labels.raw").touch()
        self._file = open(folder / "labels.raw", "r+b", buffering=0)  # noqa: SIM115
        self._file.truncate(shape[0] * shape[1] * self.dtype.itemsize)

    def write(self, top: int, left: int, labels: np.ndarray) -> None:
        """Put a block of labels (h, w) of the state's dtype at its place."""
        for row, values in enumerate(np.ascontiguousarray(labels)):
            offset = ((top + row) * self.shape[1] + left) * self.dtype.itemsize
            if os.pwrite(self._file.fileno(), values, offset) != values.nbytes:
                raise OSError(f"{self._file.name}: a row could not be written whole; is the disk full?")

    def read(self, top: int, bottom: int) -> np.ndarray:
        """Rows top to bottom, whole: (bottom - top, W)."""
        count, size = bottom - top, self.shape[1] * self.dtype.itemsize
        data = os.pread(self._file.fileno(), count * size, top * size)
        return np.frombuffer(data, self.dtype).reshape(count, self.shape[1])

    def count(self, labels: np.ndarray, scores: np.ndarray) -> None:
        """Add pixels to the statistics: labels and their probabilities, both of one axis."""
        self.counts += np.bincount(labels, minlength=len(self.counts))
        self.scores += np.bincount(labels, scores, minlength=len(self.counts))

    def commit(self, rows: int) -> None:
        """So many rows of windows are done: from now on they survive."""
        os.fsync(self._file.fileno())
        self.rows = rows
        record = {"key": self.key, "rows": rows, "counts": self.counts.tolist(), "scores": self.scores.tolist()}
        write_json_atomic(self.folder / _PROGRESS, record)

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """Delete the folder, when its labels stand elsewhere."""
        self.close()
        shutil.rmtree(self.folder)

    def _read(self) -> dict | None:
        try:
            found = json.loads((self.folder / _PROGRESS).read_text())
        except (OSError, ValueError):
            return None
        return found if found["key"] == self.key else None
