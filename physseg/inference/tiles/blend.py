"""Blending windows row by row: what a window shares with the next one is kept in memory, with the row below on disk.

T names, h w a window's height and width, W the picture's width.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from physseg.inference.tiles.plan import Span


class Strip:
    """The weighted probabilities that a row of windows leaves for the row below: float32 (T, overlap, W) in a file.

    Read and written, not mapped: a mapped file would count as memory, page by page.

    Args:
        path: made if it is not there.
    """

    def __init__(self, path: Path, names: int, overlap: int, width: int) -> None:
        self.names, self.overlap = names, overlap
        path.touch()
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115
        self._file.truncate(4 * names * overlap * width)

    def read(self, first: int, last: int) -> Tensor:
        """Columns first to last: (T, overlap, last - first)."""
        block = np.empty((last - first, self.names, self.overlap), np.float32)
        self._file.seek(self._offset(first))
        view, done = memoryview(block).cast("B"), 0
        while done < block.nbytes:
            count = self._file.readinto(view[done:])
            if not count:
                raise OSError(f"{self._file.name} ends too early; delete its folder and start again")
            done += count
        return torch.from_numpy(block).permute(1, 2, 0)

    def write(self, first: int, values: Tensor) -> None:
        """Columns from `first` on: (T, overlap, n)."""
        self._file.seek(self._offset(first))
        view = memoryview(np.ascontiguousarray(values.permute(2, 0, 1).numpy())).cast("B")
        while view:
            view = view[self._file.write(view) :]

    def close(self) -> None:
        self._file.close()

    def _offset(self, column: int) -> int:
        return 4 * self.names * self.overlap * column


def blend_row(
    windows: Iterable[tuple[Span, Tensor]], row: Span, above: Strip | None, below: Strip | None
) -> Iterator[tuple[int, Tensor]]:
    """Blend a row of windows with each other and with the row above.

    Args:
        windows: left to right, columns and float32 (T, h, w) probabilities.
        row: their rows. above: what the row above left, None for the first. below: takes what is left for the next
            row, None for the last.

    Yields:
        First column, and finished probabilities (T, n, m) of rows ``row.first`` to ``row.last - row.fade_out``.
    """
    down = torch.from_numpy(row.weights())[:, None]
    carry: Tensor | None = None
    for column, probabilities in windows:
        across = torch.from_numpy(column.weights())
        part = probabilities[:, row.used, column.used] * down * across
        if carry is not None:
            part[:, :, : column.fade_in] += carry
        done = part.shape[2] - column.fade_out
        carry = part[:, :, done:].clone()
        part = part[:, :, :done]
        if above is not None and row.fade_in:
            part[:, : row.fade_in] += above.read(column.first, column.first + done)
        ends = part.shape[1] - row.fade_out
        if below is not None and row.fade_out:
            below.write(column.first, part[:, ends:])
        yield column.first, part[:, :ends]
