"""How much of a benchmark was in training, and what that does to the scores.

A class is seen by name when one of its names is one of a training class's names. Text similarity catches what names
miss ("sofa" and "couch"): the cosine of its text feature to the nearest training class's.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor


def normalised_names(name: str) -> set[str]:
    """Synonyms of a class name ("couch, sofa") in lower case, punctuation as blanks, COCO-Stuff's suffixes off."""
    names = set()
    for synonym in name.split(","):
        words = re.sub(r"[^a-z0-9]+", " ", synonym.lower()).split()
        # "wall-other" and "desk-stuff" are a wall and a desk.
        if len(words) > 1 and words[-1] in ("other", "stuff"):
            words = words[:-1]
        names.add(" ".join(words))
    return names - {""}


def seen_by_name(classes: Sequence[str], training: Sequence[str]) -> np.ndarray:
    """Return (N,) bool: does a training class share a name with the class?"""
    known = set().union(*(normalised_names(name) for name in training))
    return np.array([bool(normalised_names(name) & known) for name in classes], dtype=bool)


def nearest_similarity(features: Tensor, training: Tensor) -> np.ndarray:
    """Return (N,) float: cosine of each (N, E) text feature to its nearest of the (M, E) training features."""
    features, training = (torch.nn.functional.normalize(x.detach().float(), dim=-1) for x in (features, training))
    return (features @ training.T).amax(dim=1).cpu().numpy()


def split_miou(iou: np.ndarray, seen: np.ndarray) -> dict[str, float | int]:
    """Mean IoU over seen and over unseen classes; classes without ground truth (NaN) count in neither."""
    present = ~np.isnan(iou)
    groups = {"seen": present & seen, "unseen": present & ~seen}
    means = {name: float(iou[chosen].mean()) if chosen.any() else float("nan") for name, chosen in groups.items()}
    return means | {f"num_{name}": int(chosen.sum()) for name, chosen in groups.items()}


def seen_unseen(
    iou: Sequence[float],
    classes: Sequence[str],
    training: Sequence[str],
    encode: Callable[[Sequence[str]], Tensor] | None = None,
    threshold: float = 0.95,
) -> dict:
    """Split a benchmark's IoU both ways.

    Args:
        iou: (N,) per class, NaN where absent. A folded class (PAS-20b's background stands for many names) is left to
            the caller to cut off.
        classes: the N names.
        training: names of the training classes.
        encode: names -> (T, E) text features; without it there is no split by similarity.
        threshold: seen by similarity means a cosine of at least this.

    Returns:
        ``{"by_name": {seen, unseen, num_seen, num_unseen, flags}, ["by_similarity": {..., similarity}]}``.
    """
    values = np.asarray(iou, dtype=float)
    flags = seen_by_name(classes, training)
    result = {"by_name": {**split_miou(values, flags), "flags": flags.tolist()}}
    if encode is not None:
        similarity = nearest_similarity(encode(list(classes)), encode(list(training)))
        result["by_similarity"] = {
            **split_miou(values, similarity >= threshold),
            "threshold": threshold,
            "similarity": [round(float(value), 6) for value in similarity],
        }
    return result
