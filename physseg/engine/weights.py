"""Reading weight files, and loading them into a model that they fit."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.utils.file_io import PathManager
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from physseg.engine.checkpoint_files import describe, read_file
from physseg.engine.light_weights import TRAINING_ONLY, complete, is_light
from physseg.modeling.catseg.checkpoint import from_catseg, is_catseg
from physseg.modeling.published_weights import PublishedWeightsError
from physseg.modeling.without_masks.segclip_checkpoint import from_segclip, is_segclip

logger = logging.getLogger(__name__)

# First part of a parameter's name -> the config keys that decide whether it exists and what shape it has.
_RESPONSIBLE_KEYS = {
    "clip": "MODEL.CLIP.NAME, MODEL.CLIP.IMAGE_SIZE",
    "guidance": "MODEL.GUIDANCE, MODEL.CLIP.NAME, MODEL.AGGREGATION.UPSAMPLED_DIMS, MODEL.BACKBONE.NAME",
    "aggregation": "MODEL.AGGREGATION.*, MODEL.CLIP.NAME, MODEL.TEXT.TEMPLATES",
    "decoder": "MODEL.AGGREGATION.DECODER_DIMS, MODEL.AGGREGATION.DECODER_GUIDANCE_DIMS",
    "structure_head": "MODEL.STRUCTURE.SOURCES, MODEL.STRUCTURE.LEVELS, MODEL.STRUCTURE.DIM",
    "patch_alignment": "MODEL.PATCH_ALIGNMENT.DIM, MODEL.CLIP.NAME",
    "features": "MODEL.META_ARCHITECTURE, MODEL.CLIP.NAME, MODEL.DENSE.METHOD, MODEL.DENSE.PROXY.NAME",
    "grouping": "MODEL.META_ARCHITECTURE, MODEL.SEGCLIP.*, MODEL.CLIP.NAME",
    "encoder": "MODEL.META_ARCHITECTURE, MODEL.ZEROSEG.ENCODER.*, INPUT.PAIRS.SIZE",
    "head": "MODEL.META_ARCHITECTURE, MODEL.ZEROSEG.*, MODEL.CLIP.NAME",
    "reconstruction": "MODEL.SEGCLIP.RECONSTRUCTION.*, MODEL.ZEROSEG.RECONSTRUCTION.*",
}


_KEY = "Check MODEL.WEIGHTS."


class IncompatibleWeightsError(ValueError):
    """A checkpoint does not fit the model. The message lists the keys by group and the config keys to look at."""


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Read a .pth, .pt, .bin or .safetensors file to the CPU; nothing in it can run code.

    Args:
        path: a local file, or what Detectron2's PathManager takes (https://..., physseg://catseg-vitb16).

    Returns:
        A checkpoint: a dict with ``model``, parameter names to tensors, and in a checkpoint of training the rest.

    Raises:
        FileNotFoundError: there is no such file; the message names MODEL.WEIGHTS.
        OSError: it is a folder, a pipe or a device.
        ValueError: the file is damaged, holds more than tensors, numbers, strings, lists and dicts, or no weights; the
            message says what it holds.
        ConnectionError: the file is light (`light_weights`) and the CLIP that completes it cannot be had.
    """
    name = str(path)
    if "://" in name:
        name = PathManager.get_local_path(name)
    try:
        content, metadata = read_file(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Weights not found: {error.args[0].removeprefix('no weight file ')}. {_KEY}") from None
    if is_light(metadata):
        return {"model": complete(content, metadata)}
    if isinstance(content, Mapping):
        for wrapper in ("model", "state_dict"):
            if isinstance(content.get(wrapper), Mapping):
                content = {**content, "model": content[wrapper]}
                break
        else:
            content = {"model": dict(content)}
    if not isinstance(content, Mapping) or not _are_weights(content["model"]):
        held = describe(content["model"] if isinstance(content, Mapping) else content)
        raise ValueError(f"{name}: expected names and tensors of a model, but it holds {held}. {_KEY}")
    return content


def _are_weights(state: Mapping) -> bool:
    # An odd entry among tensors is named later, by what the model expects.
    return all(isinstance(name, str) for name in state) and any(isinstance(value, Tensor) for value in state.values())


def load_weights(
    model: nn.Module, weights: str | os.PathLike | Mapping[str, Any], averaged: bool = True, source: str | None = None
) -> None:
    """Load weights into a model, all or nothing.

    Parts that only training uses (structure head, projections of the alignment loss) may be missing or left over; that
    is logged. Everything else must fit. A published checkpoint of CAT-Seg or SegCLIP is taken as it is.

    Args:
        model: a PhysSeg or any module; a DistributedDataParallel wrapper is looked through.
        weights: path of a checkpoint, a checkpoint as `read_checkpoint` returns it, or a plain state dict.
        averaged: take the running average of the weights where the checkpoint has one (SOLVER.EMA).
        source: what messages call the weights.

    Raises:
        IncompatibleWeightsError: names missing, unexpected and misshapen keys by group, and the config keys likely
            responsible.
        FileNotFoundError, ValueError: as `read_checkpoint`; or numbers that are NaN, infinite, or no real numbers.
    """
    if isinstance(weights, str | os.PathLike):
        source = source or str(weights)
        weights = read_checkpoint(weights)
    source = source or "the given weights"
    if isinstance(model, DistributedDataParallel):
        model = model.module
    state = dict(weights["model"]) if isinstance(weights.get("model"), Mapping) else dict(weights)
    if averaged and isinstance(weights.get("ema"), Mapping):
        logger.info("%s: taking the running average of the weights (SOLVER.EMA).", source)
        state.update(average_of(weights["ema"], source))
    prefix = "module."
    if state and all(name.startswith(prefix) for name in state):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    state = {name: _tensor(value, name, source) for name, value in state.items()}
    for system, known, convert in (("CAT-Seg", is_catseg, from_catseg), ("SegCLIP", is_segclip, from_segclip)):
        if known(state):
            logger.info("%s: a published %s checkpoint; its names are translated.", source, system)
            try:
                state = convert(state).state_dict
            except PublishedWeightsError as error:
                raise IncompatibleWeightsError(f"{source}: {error}") from error

    missing, unexpected, misshapen = _compare(model, state)
    problems = [name for name in (*missing, *unexpected) if not name.startswith(TRAINING_ONLY)] + misshapen
    if problems:
        raise IncompatibleWeightsError(_explain(source, missing, unexpected, misshapen, len(state)))
    if missing or unexpected:
        logger.warning(
            "%s: used without the parts that only training needs; not in the file: %s; not in the model: %s.",
            source,
            _group_names(missing) or "none",
            _group_names(unexpected) or "none",
        )
    for name in unexpected:
        del state[name]
    check_numbers(state, source)
    model.load_state_dict(state, strict=False)
    logger.info("Loaded %d tensors from %s.", len(state), source)


def check_numbers(state: Mapping[str, Tensor], source: str) -> None:
    """Check that weights are finite real numbers; buffers of integers are let through.

    Raises:
        ValueError: the message names the tensors.
    """
    wrong = [name for name, value in state.items() if value.is_complex() or not _is_finite(value)]
    if wrong:
        raise ValueError(
            f"{source}: NaN, infinite or complex numbers in {len(wrong)} of {len(state)} tensors: "
            f"{_group_names(wrong)}. The file is damaged, or its training has diverged; take another checkpoint."
        )


def _is_finite(value: Tensor) -> bool:
    if not value.is_floating_point() or not value.numel():
        return True
    # A sum is several times faster than looking at each value; it may overflow where no value does.
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())


def _tensor(value: Any, name: str, source: str) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{source}: expected a tensor for {name}, got {describe(value)}.") from error


def average_of(ema: Any, source: str) -> Mapping:
    """Names and tensors of a checkpoint's ``ema``; ValueError names ``source`` where it holds something else."""
    if not isinstance(ema, Mapping) or not isinstance(ema.get("average"), Mapping):
        raise ValueError(f"{source}: its running average (ema) holds {describe(ema)}; expected names and tensors.")
    return ema["average"]


def _compare(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[list[str], list[str], list[str]]:
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    misshapen = [
        f"{name}: {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    misshapen += [
        f"{name}: {state[name].dtype} in the file, {own[name].dtype} in the model"
        for name in own
        if name in state and own[name].is_floating_point() and not state[name].is_floating_point()
    ]
    return missing, unexpected, misshapen


def _explain(
    source: str, missing: Sequence[str], unexpected: Sequence[str], misshapen: Sequence[str], total: int
) -> str:
    lines = [f"{source} ({total} tensors) does not fit the model:"]
    for title, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            lines.append(f"  {title} ({len(names)}): {_group_names(names)}")
    if misshapen:
        shown = list(misshapen[:8]) + ([f"... and {len(misshapen) - 8} more"] if len(misshapen) > 8 else [])
        lines.append(f"  other shape or type ({len(misshapen)}):")
        lines += [f"    {line}" for line in shown]
    tops = dict.fromkeys(name.split(".")[0] for name in (*missing, *unexpected, *misshapen))
    keys = dict.fromkeys(_RESPONSIBLE_KEYS[top] for top in tops if top in _RESPONSIBLE_KEYS)
    lines.append(f"  Config keys to check: {'; '.join(keys) or 'MODEL.META_ARCHITECTURE, MODEL.CLIP.NAME'}.")
    if not any(name in unexpected for name in missing) and len(missing) and len(unexpected) == total:
        lines.append("  Not one key is known: these are weights of another model.")
    return "\n".join(lines)


def _group_names(names: Sequence[str], depth: int = 2, most: int = 12) -> str:
    """Names as "structure_head.refine.* (12), aggregation.conv.bias"."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(".".join(name.split(".")[:depth]), []).append(name)
    shown = [members[0] if len(members) == 1 else f"{key}.* ({len(members)})" for key, members in groups.items()]
    more = [f"... and {len(shown) - most} more groups"] if len(shown) > most else []
    return ", ".join(shown[:most] + more)
