"""Reading weight files, and loading them into a model that they fit."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.utils.file_io import PathManager
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from physseg.engine.light_weights import TRAINING_ONLY, complete, is_light
from physseg.modeling.catseg.checkpoint import CatsegCheckpointError, from_catseg, is_catseg

logger = logging.getLogger(__name__)

# First part of a parameter's name -> the config keys that decide whether it exists and what shape it has.
_RESPONSIBLE_KEYS = {
    "clip": "MODEL.CLIP.NAME, MODEL.CLIP.IMAGE_SIZE",
    "guidance": "MODEL.GUIDANCE, MODEL.CLIP.NAME, MODEL.AGGREGATION.UPSAMPLED_DIMS, MODEL.BACKBONE.NAME",
    "aggregation": "MODEL.AGGREGATION.*, MODEL.CLIP.NAME, MODEL.TEXT.TEMPLATES",
    "decoder": "MODEL.AGGREGATION.DECODER_DIMS, MODEL.AGGREGATION.DECODER_GUIDANCE_DIMS",
    "structure_head": "MODEL.STRUCTURE.SOURCES, MODEL.STRUCTURE.LEVELS, MODEL.STRUCTURE.DIM",
    "patch_alignment": "MODEL.PATCH_ALIGNMENT.DIM, MODEL.CLIP.NAME",
}


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
        ValueError: the file is damaged, or holds more than tensors, numbers, strings, lists and dicts.
        ConnectionError: the file is light (`light_weights`) and the CLIP that completes it cannot be had.
    """
    name = str(path)
    local = Path(PathManager.get_local_path(name) if "://" in name else name).expanduser()
    if not local.is_file():
        raise FileNotFoundError(f"Weights not found: {local}. Check MODEL.WEIGHTS.")
    metadata = None
    try:
        if local.suffix == ".safetensors":
            content, metadata = _read_safetensors(local)
        else:
            content = torch.load(local, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError ... for one and the same damage
        raise ValueError(
            f"Cannot read weights from {local}: it is damaged, cut short, or no file of plain tensors "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}). "
            "Files that need arbitrary pickled code are refused."
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{local}: expected a dict of weights, got {type(content).__name__}.")
    for wrapper in ("model", "state_dict"):
        if isinstance(content.get(wrapper), Mapping):
            return {**content, "model": content[wrapper]}
    return {"model": complete(content, metadata) if is_light(metadata) else dict(content)}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str] | None]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118  (no mapping)


def load_weights(
    model: nn.Module, weights: str | os.PathLike | Mapping[str, Any], averaged: bool = True, source: str | None = None
) -> None:
    """Load weights into a model, all or nothing.

    Parts that only training uses (structure head, projections of the alignment loss) may be missing or left over; that
    is logged. Everything else must fit. A published CAT-Seg checkpoint is taken as it is.

    Args:
        model: a PhysSeg or any module; a DistributedDataParallel wrapper is looked through.
        weights: path of a checkpoint, a checkpoint as `read_checkpoint` returns it, or a plain state dict.
        averaged: take the running average of the weights where the checkpoint has one (SOLVER.EMA).
        source: what messages call the weights.

    Raises:
        IncompatibleWeightsError: names missing, unexpected and misshapen keys by group, and the config keys likely
            responsible.
        FileNotFoundError, ValueError: as `read_checkpoint`.
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
        state.update(weights["ema"]["average"])
    prefix = "module."
    if state and all(name.startswith(prefix) for name in state):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    state = {name: torch.as_tensor(value) for name, value in state.items()}
    if is_catseg(state):
        logger.info("%s: a published CAT-Seg checkpoint; its names are translated.", source)
        try:
            state = from_catseg(state).state_dict
        except CatsegCheckpointError as error:
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
    model.load_state_dict(state, strict=False)
    logger.info("Loaded %d tensors from %s.", len(state), source)


def _compare(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[list[str], list[str], list[str]]:
    own = model.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    misshapen = [
        f"{name}: {tuple(state[name].shape)} in the file, {tuple(own[name].shape)} in the model"
        for name in own
        if name in state and state[name].shape != own[name].shape
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
        lines.append(f"  other shape ({len(misshapen)}):")
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
