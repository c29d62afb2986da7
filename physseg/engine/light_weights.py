"""Weights without what training left alone: a small file for predicting, completed from CLIP's own weights.

A light file holds half-precision numbers, and neither CLIP's tensors that equal the pretrained ones nor the parts that
only training uses. Its metadata name the CLIP that completes it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from physseg.modeling.clip.weights import create_clip

_CLIP = "clip.model."
_NAME, _PRETRAINED = "clip_name", "clip_pretrained"
# Predictions do not depend on them.
TRAINING_ONLY = ("structure_head.", "patch_alignment.", "contrast.", "reconstruction.")


def lighten(
    state_dict: Mapping[str, Tensor], clip_name: str, clip_pretrained: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a light file.

    Args:
        state_dict: a PhysSeg's. clip_name, clip_pretrained: MODEL.CLIP.NAME and MODEL.CLIP.PRETRAINED it began with.

    Raises:
        ValueError: the state dict lacks that CLIP; or as `create_clip`.
        ConnectionError: as `create_clip`.
    """
    clip = _clip_tensors(clip_name, clip_pretrained)
    # Positions may have been resized to another grid.
    other = [
        name
        for name, value in clip.items()
        if name not in state_dict or (state_dict[name].shape != value.shape and "positional" not in name)
    ]
    if other:
        raise ValueError(
            f"the checkpoint is of no model with the CLIP {clip_name}: {len(other)} of its {len(clip)} tensors are "
            f"missing or of another shape, such as {other[0]}; give the config that it was trained with"
        )
    kept = {
        name: value.half() if value.is_floating_point() else value
        for name, value in state_dict.items()
        if not name.startswith(TRAINING_ONLY) and not (name in clip and torch.equal(value, clip[name]))
    }
    return kept, {_NAME: clip_name, _PRETRAINED: clip_pretrained}


def is_light(metadata: Mapping[str, str] | None) -> bool:
    """Whether a safetensors file's metadata are a light file's."""
    return bool(metadata) and _NAME in metadata


def complete(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Tensor]:
    """The whole float32 state dict of a light file.

    Raises:
        ValueError, ConnectionError: as `create_clip`.
    """
    floats = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    return _clip_tensors(metadata[_NAME], metadata[_PRETRAINED]) | floats


def _clip_tensors(name: str, pretrained: str) -> dict[str, Tensor]:
    return {_CLIP + key: value for key, value in create_clip(name, pretrained).state_dict().items()}
