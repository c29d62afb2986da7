"""Where the windows of a large picture lie, and how much each has a say in a pixel.

Neighbours share a zone of `overlap` pixels in which one fades into the other; outside of it a pixel belongs to one
window alone. The zone lies in the middle of what both see, so that a window's rim, where the model has seen one side
only, counts nowhere.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Span:
    """A window along one axis, in pixels of the picture.

    start, stop: what it sees. first, last: where it has a say. fade_in, fade_out: length of the zones at either end
    that it shares with its neighbours, 0 at the picture's border.
    """

    start: int
    stop: int
    first: int
    last: int
    fade_in: int
    fade_out: int

    @property
    def used(self) -> slice:
        """`first` to `last` within the window."""
        return slice(self.first - self.start, self.last - self.start)

    def weights(self) -> np.ndarray:
        """float32 (last - first,): 1 where alone; in shared zones sin^2, and what it lacks to 1 in the neighbour."""
        weights = np.ones(self.last - self.first, np.float32)
        if self.fade_in:
            weights[: self.fade_in] = _rise(self.fade_in)
        if self.fade_out:
            weights[-self.fade_out :] = 1 - _rise(self.fade_out)
        return weights


def plan_axis(length: int, tile: int, overlap: int) -> list[Span]:
    """Windows of `tile` pixels that cover `length`, evenly spaced, the fewest that share `overlap` or more.

    Raises:
        ValueError: an overlap below 0 or above a third of the tile, where three windows would meet.
    """
    if not 0 <= overlap <= tile // 3:
        raise ValueError(f"expected an overlap from 0 to a third of the tile, {tile // 3}; got {overlap}")
    if length <= tile:
        return [Span(0, length, 0, length, 0, 0)]
    count = math.ceil((length - overlap) / (tile - overlap))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    zones = [(left + tile + right - overlap) // 2 for left, right in pairwise(starts)]
    spans = []
    for index, start in enumerate(starts):
        first, fade_in = (zones[index - 1], overlap) if index else (0, 0)
        last, fade_out = (zones[index] + overlap, overlap) if index < count - 1 else (length, 0)
        spans.append(Span(start, start + tile, first, last, fade_in, fade_out))
    return spans


def _rise(length: int) -> np.ndarray:
    return np.sin((np.arange(length) + 0.5) * (math.pi / 2 / length)).astype(np.float32) ** 2
