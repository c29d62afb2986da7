"""Label maps as PNG files that open in colour and say what their values mean.

Up to 256 names the file has a palette (mode P, 8 bit): its pixels are the labels, its colours those of the overlay.
More names take 16 bit gray, for which PNG has no palette. Names and model stand in text chunks of the file.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from physseg.visualization import palette

PALETTE_NAMES = 256
"""As many names as 8 bit can tell apart."""

NAMES_KEY, MODEL_KEY = "physseg_names", "physseg_model"
"""Keywords of the text chunks (iTXt, UTF-8): a JSON list in the labels' order; the model in words."""


def write_label_png(target: Path | BinaryIO, labels: np.ndarray, names: Sequence[str], model: str = "") -> None:
    """Write labels (H, W), indices into names, losslessly.

    Raises:
        ValueError: a label that is no index into names, or more than 65,536 names.
    """
    if len(names) > 65536:
        raise ValueError(f"a PNG holds 16 bit labels, 65,536 names at most; got {len(names)}")
    if labels.size and not 0 <= labels.min() <= labels.max() < len(names):
        raise ValueError(
            f"expected labels from 0 to {len(names) - 1}, one for each name; got {labels.min()} to {labels.max()}"
        )
    text = PngInfo()
    text.add_text("Software", "physseg")
    text.add_itxt(NAMES_KEY, json.dumps(list(names), ensure_ascii=False), zip=len(names) > PALETTE_NAMES)
    text.add_itxt(MODEL_KEY, model)
    if len(names) <= PALETTE_NAMES:
        picture = Image.fromarray(labels.astype(np.uint8))
        picture.putpalette(palette(len(names)).tobytes())
        # Pillow would pack a few names into fewer bits, which not every reader unpacks.
        picture.save(target, format="PNG", pnginfo=text, bits=8)
    else:
        Image.fromarray(labels.astype(np.uint16)).save(target, format="PNG", pnginfo=text)
