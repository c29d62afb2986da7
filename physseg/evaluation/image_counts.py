"""What one image adds to the counts, kept per image.

From these the evaluator resumes after an interruption, takes back an image that two processes evaluated, and tells
which images two checkpoints disagree on. Only the filled cells are kept: an image holds few classes.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageCounts:
    """One image's share of the confusion matrix: ``pixels[k]`` pixels of class ``gt[k]`` predicted as ``pred[k]``.

    ``boundary`` holds rows ``[class, intersection, true, predicted]`` of boundary pixels, if they were counted.
    """

    file_name: str
    gt: list[int]
    pred: list[int]
    pixels: list[int]
    boundary: list[list[int]] = field(default_factory=list)

    @classmethod
    def from_matrix(cls, file_name: str, counts: Tensor, boundary: np.ndarray | None = None) -> "ImageCounts":
        """Take an (N, N) int64 matrix and, if any, (3, N) boundary counts."""
        gt, pred = counts.nonzero(as_tuple=True)
        rows = []
        if boundary is not None:
            rows = [[int(i), *map(int, boundary[:, i])] for i in np.flatnonzero(boundary.any(axis=0))]
        return cls(file_name, gt.tolist(), pred.tolist(), counts[gt, pred].tolist(), rows)

    def add_to(self, matrix: Tensor, boundary: Tensor | None = None, sign: int = 1) -> None:
        """Add to (``sign`` 1) or take out of (-1) the (N, N) and (3, N) int64 sums, in place."""
        cells = (torch.tensor(self.gt, dtype=torch.long), torch.tensor(self.pred, dtype=torch.long))
        pixels = sign * torch.tensor(self.pixels, dtype=torch.long)
        matrix.index_put_(tuple(c.to(matrix.device) for c in cells), pixels.to(matrix.device), accumulate=True)
        if boundary is not None:
            for index, *values in self.boundary:
                boundary[:, index] += sign * torch.tensor(values, device=boundary.device)

    def miou(self) -> float:
        """Mean IoU (x100) over the classes this image's ground truth holds; NaN for an image without labels."""
        classes, index = np.unique(self.gt + self.pred, return_inverse=True)
        if not len(classes):
            return float("nan")
        gt, pred = np.split(index, 2)
        matrix = np.zeros((len(classes), len(classes)), np.int64)
        matrix[gt, pred] = self.pixels
        rows = matrix.sum(axis=1)
        present = rows > 0
        union = rows + matrix.sum(axis=0) - matrix.diagonal()
        return float((100.0 * matrix.diagonal()[present] / union[present]).mean())


class ImageLog:
    """An append-only file of `ImageCounts`, one JSON line per image, after a first line saying what it belongs to.

    A line is written whole and handed to the system at once, so a killed process loses at most the image under
    way. A torn last line is ignored on reading and cut off before appending.

    Args:
        path: the file; made with its folders on the first `append`.
        header: anything JSON; `read` returns no entries from a file with another header.
    """

    def __init__(self, path: str | Path, header: dict) -> None:
        self.path = Path(path)
        # What comes back from the file has been through JSON, which knows no tuples.
        self.header = json.loads(json.dumps(header))
        self._file: TextIO | None = None

    def append(self, counts: ImageCounts) -> None:
        """Add one image."""
        if self._file is None:
            self._file = self._open()
        self._file.write(json.dumps(asdict(counts), separators=(",", ":")) + "\n")
        self._file.flush()

    def read(self) -> list[ImageCounts] | None:
        """Return the entries; None if the file is absent, has another header, or is damaged."""
        if not self.path.exists():
            return None
        try:
            lines = self.path.read_bytes()[: _complete_bytes(self.path)].decode("utf-8").splitlines()
            if not lines or json.loads(lines[0]) != self.header:
                return None
            return [ImageCounts(**json.loads(line)) for line in lines[1:]]
        except (ValueError, TypeError):  # another file of that name, or one damaged in the middle
            return None

    def _open(self) -> TextIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.read() is None:
            self.path.write_text(json.dumps(self.header) + "\n", encoding="utf-8")
        else:
            os.truncate(self.path, _complete_bytes(self.path))
        return open(self.path, "a", encoding="utf-8")

    def close(self) -> None:
        """Close the file; a later `append` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _complete_bytes(path: Path) -> int:
    return path.read_bytes().rfind(b"\n") + 1
