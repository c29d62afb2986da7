"""Textures, materials and shapes of the toy world, as functions of float32 coordinates (h, w).

Textures and materials: coordinates in reference pixels -> 1 where light, 0 where dark; ``pixel`` is the width over
which edges are soft. Shapes: coordinates over the radius -> signed distance over the radius, negative inside; y grows
downwards.
"""

import numpy as np


def _step(value: np.ndarray, pixel: float) -> np.ndarray:
    return np.clip(value / pixel + 0.5, 0.0, 1.0)


def _triangle_wave(value: np.ndarray, period: float) -> np.ndarray:
    """Distance to the middle of the nearest half period: in -period/4 .. period/4, positive half of the time."""
    return np.abs(value % period - period / 2) - period / 4


def _plain(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return np.ones(np.broadcast_shapes(u.shape, v.shape), np.float32)


def _striped(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return _step(_triangle_wave(u, 9.0), pixel)


def _dotted(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return _step(np.hypot(u % 9.0 - 4.5, v % 9.0 - 4.5) - 2.7, pixel)


def _checkered(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    a, b = _triangle_wave(u, 14.0), _triangle_wave(v, 14.0)
    return _step(np.sign(a * b) * np.minimum(np.abs(a), np.abs(b)), pixel)


def _brick_wall(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    shifted = u + 9.0 * (np.floor(v / 9.0) % 2)
    joint = np.minimum(np.abs(v % 9.0 - 4.5) * -1 + 4.5, np.abs(shifted % 18.0 - 9.0) * -1 + 9.0)
    return _step(joint - 1.1, pixel)


def _tiled_floor(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    a, b = (u + v) % 15.0, (u - v) % 15.0
    return _step(np.minimum(np.minimum(a, 15.0 - a), np.minimum(b, 15.0 - b)) - 1.6, pixel)


def _wavy_water(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(v * 0.75 + 1.9 * np.sin(u * 0.3))


def _grassy_field(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    # Short upright blades: each narrow column has its own offset, blades alternate with gaps along it.
    column = np.floor(u / 2.6)
    offset = (column * 7.31) % 11.0
    return np.clip(np.abs((v + offset) % 11.0 - 5.5) / 3.0, 0.0, 1.0)


TEXTURES = {"plain": _plain, "striped": _striped, "dotted": _dotted, "checkered": _checkered}
"""Painters of things."""
MATERIALS = {
    "brick wall": _brick_wall,
    "tiled floor": _tiled_floor,
    "wavy water": _wavy_water,
    "grassy field": _grassy_field,
}
"""Painters of backgrounds."""


def _disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.hypot(u, v) - 1.0


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) - 0.88


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    # Equilateral, tip up (y grows downwards), circumradius 1.25.
    low = v - 0.6
    return np.maximum(low, 0.866 * np.abs(u) - 0.5 * (v + 1.25 - 0.025))


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    # Five tips at radius 1.25: fold the angle into one tip and measure against its edge.
    angle = np.arctan2(u, -v)
    sector = np.float32(2 * np.pi / 5)
    folded = np.abs((angle + sector / 2) % sector - sector / 2)
    length = np.hypot(u, v)
    px, py = length * np.cos(folded), length * np.sin(folded)
    tip, inner = 1.25, 0.52
    ix, iy = inner * np.cos(sector / 2), inner * np.sin(sector / 2)
    nx, ny = iy, tip - ix
    norm = np.hypot(nx, ny)
    return ((px - tip) * nx + py * ny) / np.float32(norm)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    a, b = np.abs(u), np.abs(v)
    upright = np.maximum(a - 0.38, b - 1.08)
    level = np.maximum(b - 0.38, a - 1.08)
    return np.minimum(upright, level)


SHAPES = {"disc": _disc, "square": _square, "triangle": _triangle, "star": _star, "cross": _cross}
"""Outlines of things."""
