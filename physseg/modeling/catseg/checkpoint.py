"""Published CAT-Seg weights -> physseg's and back, bit for bit, or an error that says what does not fit."""

from collections.abc import Mapping

import torch
from torch import Tensor

from physseg.modeling.catseg.aggregation import shift_mask
from physseg.modeling.catseg.backbone_shapes import SWIN_WINDOW
from physseg.modeling.catseg.names import BACKBONE, CLIP, HEAD, is_computed, physseg_name, to_catseg, to_physseg
from physseg.modeling.catseg.shapes import GRID, WINDOW, Sizes, fitting_config, published_shapes, read_sizes
from physseg.modeling.published_weights import Conversion, PublishedWeightsError, check_tensors, group_names, misfits

# Parts of physseg that CAT-Seg does not have; only training uses them.
_TRAINING_ONLY = ("structure_head.", "patch_alignment.")


class CatsegCheckpointError(PublishedWeightsError):
    """CAT-Seg's weights, or none, that cannot be converted."""


def is_catseg(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether these are weights with CAT-Seg's published names, fitting or not."""
    return any(name.startswith("sem_seg_head.predictor.") for name in state_dict)


def from_catseg(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Published weights of either design -> physseg's.

    Tensors keep their dtype. Buffers that physseg computes (window masks, position indices) may be missing; where they
    are there they are checked and dropped.

    Raises:
        CatsegCheckpointError: keys are missing, unexpected or misshapen, or a computed buffer holds other values.
    """
    if any(name.startswith("clip.model.") for name in state_dict):
        raise CatsegCheckpointError("these are physseg's weights already: use them as MODEL.WEIGHTS, or --to-catseg")
    sizes = _sizes(state_dict)
    expected = published_shapes(sizes)
    _check(state_dict, {n: shape for n, shape in expected.items() if n in state_dict or not is_computed(n)}, sizes)
    for name in filter(is_computed, state_dict):
        if not torch.equal(state_dict[name], _computed(name, state_dict[name].dtype)):
            what = "mask" if name.endswith("attn_mask") else "position index"
            raise CatsegCheckpointError(
                f"{name} is not the {what} of windows of {WINDOW} on a grid of {GRID}: "
                "the weights are of another design"
            )
    converted, _ = to_physseg(state_dict)  # every name is known: it was expected
    notes = []
    if sizes.templates != (80 if sizes.backbone else 1):
        notes.append(f"These weights need {sizes.templates} prompt templates: set MODEL.TEXT.TEMPLATES.")
    return Conversion(converted, sizes.design, fitting_config(sizes), notes)


def back_to_catseg(state_dict: Mapping[str, Tensor]) -> Conversion:
    """physseg's weights -> published names and shapes, computed buffers added: the inverse of `from_catseg`.

    What only physseg's training uses (structure head, projections of the alignment loss) is left out, with a note.

    Raises:
        CatsegCheckpointError: keys are missing, unexpected or misshapen.
    """
    if any(name.startswith("sem_seg_head.") for name in state_dict):
        raise CatsegCheckpointError("these are CAT-Seg's weights already: convert them without --to-catseg")
    left_out = [name for name in state_dict if name.startswith(_TRAINING_ONLY)]
    packed = any(name.startswith("guidance.backbone.") for name in state_dict)
    kept = {name: value for name, value in state_dict.items() if name not in left_out}
    converted, unknown = to_catseg(kept, packed)
    converted |= {name: state_dict[name] for name in unknown}
    sizes = _sizes(converted)
    expected = published_shapes(sizes)
    dtype = state_dict["aggregation.embed.weight"].dtype
    converted |= {name: _computed(name, dtype) for name in filter(is_computed, expected)}
    _check(converted, expected, sizes, physseg_name)
    notes = []
    if left_out:
        notes.append(f"Left out, as CAT-Seg has no such parts (predictions stay the same): {group_names(left_out)}")
    # The published order, so that files of equal weights are written alike.
    return Conversion({name: converted[name] for name in expected}, sizes.design, fitting_config(sizes), notes)


def _computed(name: str, dtype: torch.dtype) -> Tensor:
    """A published buffer: a window mask (4, 144, 144) of `dtype`, or position indices (144, 144) int64."""
    if name.endswith("attn_mask"):
        # 0 or -100. Adding 0 turns -0 into 0.
        return (shift_mask(GRID, WINDOW, WINDOW // 2, -100.0).squeeze(1) + 0.0).to(dtype)
    # Row of the bias table for a query and a key: (dy + 11) * 23 + (dx + 11), d their distance.
    positions = torch.cartesian_prod(torch.arange(SWIN_WINDOW), torch.arange(SWIN_WINDOW))
    dy, dx = (positions[:, None] - positions[None]).unbind(-1)
    return (dy + SWIN_WINDOW - 1) * (2 * SWIN_WINDOW - 1) + dx + SWIN_WINDOW - 1


def _sizes(state_dict: Mapping[str, Tensor]) -> Sizes:
    check_tensors(state_dict, CatsegCheckpointError)
    try:
        return read_sizes(state_dict)
    except KeyError as error:
        parts = f"{CLIP}.*, {HEAD}*, and upsample1.*, upsample2.* (CVPR'24) or {BACKBONE}* (2023)"
        raise CatsegCheckpointError(
            f"no weights of CAT-Seg: {error.args[0]} (physseg: {physseg_name(error.args[0])}) is "
            f"missing.\n  expected: {parts}\n  found ({len(state_dict)}): {group_names(state_dict) or 'nothing'}"
        ) from None


def _check(state_dict: Mapping[str, Tensor], expected: Mapping[str, tuple], sizes: Sizes, rename=str) -> None:
    lines = misfits(state_dict, expected, rename)
    if not lines:
        return
    config = fitting_config(sizes)
    fits = f"the width says {config}" if config else "no shipped config has that width"
    raise CatsegCheckpointError(
        f"weights do not fit CAT-Seg's {sizes.design} design with CLIP's image width {sizes.width} ({fits}):\n"
        + "\n".join(lines)
    )
