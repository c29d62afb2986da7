"""Label maps as pictures: one colour per class index, overlays, legends."""

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

UNLABELLED = (160, 160, 160)
"""Colour of pixels that belong to no class."""

# The first classes get colours chosen for contrast (after Sasha Trubetskoy's list of distinct colours, and Okabe-Ito).
_FIRST = (
    *((230, 25, 75), (0, 130, 200), (60, 180, 75), (255, 165, 0), (145, 30, 180), (70, 220, 220), (240, 50, 230)),
    *((170, 210, 40), (250, 170, 190), (0, 128, 128), (150, 90, 30), (128, 0, 0), (0, 0, 140), (255, 225, 25)),
    *((128, 128, 0), (200, 170, 255), (0, 90, 50), (255, 120, 80), (90, 120, 220), (170, 255, 195)),
)
_GOLDEN = 0.6180339887498949


@lru_cache(maxsize=8)
def palette(num_classes: int) -> np.ndarray:
    """Return uint8 (N, 3) RGB colours; a class index has the same colour whatever N is.

    Later hues step by the golden ratio, so that neighbouring indices look different, over three levels of brightness.
    The array is shared: it cannot be written to.
    """
    colours = list(_FIRST[:num_classes])
    for index in range(len(colours), num_classes):
        value, saturation = ((0.95, 0.75), (0.7, 0.85), (0.9, 0.45))[index % 3]
        red, green, blue = colorsys.hsv_to_rgb((index * _GOLDEN) % 1.0, saturation, value)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    table = np.array(colours, dtype=np.uint8).reshape(-1, 3)
    table.setflags(write=False)
    return table


def colourise(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Paint an integer (H, W) label map: uint8 (H, W, 3). Values that are no class become `UNLABELLED`."""
    table = np.vstack([palette(num_classes), [UNLABELLED]]).astype(np.uint8)
    labels = np.asarray(labels)
    return table[np.where((labels >= 0) & (labels < num_classes), labels, num_classes)]


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    alpha: float = 0.55,
    contours: bool = True,
    show_legend: bool = True,
) -> np.ndarray:
    """Lay a label map over its image, with a legend of the classes present on the right.

    Args:
        image: uint8 (H, W, 3) RGB.
        labels: integer (H, W); a value that is no index into ``names`` leaves the pixel as it is.
        names: class names.
        alpha: weight of the colours, 0..1.
        contours: draw the borders between regions in white.
        show_legend: add `legend` on the right.

    Returns:
        uint8 (H, W, 3), wider and perhaps higher with a legend.

    Raises:
        ValueError: the sizes or types do not fit.
    """
    image, labels = np.asarray(image), np.asarray(labels)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected a uint8 (H, W, 3) image, got {image.dtype} {image.shape}")
    if labels.shape != image.shape[:2]:
        raise ValueError(f"the label map is {labels.shape}, the image {image.shape[:2]}; they must agree")
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha is {alpha}; expected a weight from 0 to 1")
    known = (labels >= 0) & (labels < len(names))
    colours = colourise(labels, len(names))
    mixed = np.where(known[..., None], (1 - alpha) * image + alpha * colours, image).round().astype(np.uint8)
    if contours:
        mixed[_borders(labels) & known] = 255
    return beside(mixed, legend(labels, names)) if show_legend else mixed


def present_classes(labels: np.ndarray, num_classes: int) -> list[int]:
    """Class indices in a label map, largest area first."""
    values, counts = np.unique(labels, return_counts=True)
    chosen = [(-count, value) for value, count in zip(values.tolist(), counts.tolist(), strict=True)]
    return [value for _, value in sorted(chosen) if 0 <= value < num_classes]


def legend(labels: np.ndarray, names: Sequence[str], max_entries: int = 24, font_size: int = 14) -> np.ndarray:
    """Draw a colour patch and the first synonym of each class present, largest area first: uint8 (h, w, 3).

    More than ``max_entries`` classes end in a line that says how many are left out.
    """
    present = present_classes(labels, len(names))
    lines = [names[i].split(",")[0].strip() for i in present[:max_entries]]
    if len(present) > max_entries:
        lines.append(f"and {len(present) - max_entries} more")
    font, step, margin = _font(font_size), font_size + 8, 8
    width = int(max((font.getlength(line) for line in lines), default=0)) + step + 2 * margin
    picture = Image.new("RGB", (width, step * max(1, len(lines)) + margin), "white")
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        top = margin // 2 + row * step
        if row < max_entries:
            box = (margin, top + 3, margin + font_size, top + 3 + font_size)
            draw.rectangle(box, fill=tuple(palette(len(names))[present[row]].tolist()), outline="black")
        draw.text((margin + step, top + 2), line, fill="black", font=font)
    return np.array(picture)


def beside(*pictures: np.ndarray) -> np.ndarray:
    """Put uint8 (h, w, 3) pictures side by side, tops aligned, white below the lower ones."""
    height = max(picture.shape[0] for picture in pictures)
    padded = [np.pad(p, ((0, height - len(p)), (0, 0), (0, 0)), constant_values=255) for p in pictures]
    return np.concatenate(padded, axis=1)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib brings a scalable font with accents, Greek and Cyrillic; older Pillow has only a bitmap one.
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _borders(labels: np.ndarray) -> np.ndarray:
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    return border
