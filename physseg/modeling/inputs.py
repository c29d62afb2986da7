"""What the meta-architectures read from Detectron2's list of dicts."""

from collections.abc import Mapping, Sequence
from typing import Any

from physseg.data.vocabularies import check_vocabulary


def group_by_vocabulary(
    batched_inputs: Sequence[Mapping[str, Any]], default: tuple[str, ...]
) -> dict[tuple[str, ...], list[int]]:
    """Indices of the inputs by their ``vocabulary``; ``default`` holds where an input carries none.

    Raises:
        TypeError, ValueError: as `check_vocabulary`.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, x in enumerate(batched_inputs):
        names = x.get("vocabulary")
        groups.setdefault(default if names is None else tuple(check_vocabulary(names)), []).append(index)
    return groups


def output_size(x: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) that a prediction is asked for: the image's where nothing is."""
    return int(x.get("height", x["image"].shape[-2])), int(x.get("width", x["image"].shape[-1]))
