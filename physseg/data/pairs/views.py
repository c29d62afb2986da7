"""Views of an image for a teacher: the cells of grids over its middle square (ZeroSeg)."""

import itertools
from collections.abc import Sequence

import numpy as np
from PIL import Image


def grid_views(image: np.ndarray, grids: Sequence[int], size: int) -> np.ndarray:
    """Cut the largest square in the middle into n x n cells for each n, each resized to a square, bicubic.

    Cells are cut from the image as it is, not from what a student sees of it: a small one keeps its detail.

    Args:
        image: uint8 (H, W, 3), RGB.
        grids: n of each grid; 1 is the whole square.
        size: side of a view in pixels.

    Returns:
        uint8 (V, 3, size, size), grid by grid, row by row.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    views = []
    for n in grids:
        edges = [side * i / n for i in range(n + 1)]
        for row, column in itertools.product(range(n), range(n)):
            box = (edges[column], edges[row], edges[column + 1], edges[row + 1])
            views.append(np.asarray(square.resize((size, size), Image.BICUBIC, box=box)).transpose(2, 0, 1))
    return np.stack(views)


def count_views(grids: Sequence[int]) -> int:
    """V."""
    return sum(n * n for n in grids)
