"""One segmented picture, as files and pages take it.

H, W: the image's height and width. T: names in the vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Prediction:
    """A picture and what the model says of it.

    source: the picture's file. image: uint8 (H, W, 3) RGB. labels: integer (H, W), indices into `names`, which are the
    vocabulary's T and perhaps one for the rest. scores: float32 (H, W), probability of the likeliest name, or None.
    probabilities: float32 (T, H, W), or None. model: what made it, in words.
    """

    source: Path
    image: np.ndarray
    labels: np.ndarray
    names: Sequence[str]
    scores: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    model: str = ""


def shares(labels: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Share of the pixels by name, largest first; names without a pixel are left out."""
    return shares_of_counts(np.bincount(labels.ravel(), minlength=len(names)), names)


def shares_of_counts(counts: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """`shares` from the number of pixels of each name."""
    order = sorted((int(i) for i in counts.nonzero()[0]), key=lambda i: (-counts[i], i))
    return {names[i]: round(float(counts[i] / counts.sum()), 6) for i in order}
