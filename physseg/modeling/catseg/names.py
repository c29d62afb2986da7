"""Published CAT-Seg state dicts <-> physseg's: one table of names for both designs, read both ways.

The designs' parts do not clash: upsample1, upsample2 and padding are CVPR'24's, the backbone is 2023's.
"""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

CLIP = "sem_seg_head.predictor.clip_model"
HEAD = "sem_seg_head.predictor.transformer."
BACKBONE = "backbone."
# Window masks and position indices: published checkpoints hold them, physseg computes them.
_COMPUTED = re.compile(r".*\.(attn_mask|relative_position_index)")
# CLIP's attention: one weight for q, k and v in the 2023 design.
_PACKED = ".attn.in_proj_weight"
_SPLIT = tuple(f".attn.{letter}_proj_weight" for letter in "qkv")
_LAYERS = 2


def is_computed(published: str) -> bool:
    """Whether a published name is a buffer that follows from the design."""
    return _COMPUTED.fullmatch(published) is not None


def _modules() -> Iterator[tuple[str, str]]:
    """(published, physseg) prefix of every module, and whole names of bare parameters."""
    yield CLIP, "clip.model"
    for name in ("stem", "res2", "res3", "res4"):
        yield f"{BACKBONE}{name}", f"guidance.backbone.{name}"
    yield f"{BACKBONE}patch_embed", "guidance.backbone.body.patch_embed"
    for stage in range(3):
        yield f"{BACKBONE}layers.{stage}.blocks", f"guidance.backbone.body.layers_{stage}.blocks"
        # timm merges patches at the start of a stage, the published code at the end of the one before.
        yield f"{BACKBONE}layers.{stage}.downsample", f"guidance.backbone.body.layers_{stage + 1}.downsample"
        yield f"{BACKBONE}norm{stage}", f"guidance.backbone.norms.{stage}"
    yield "upsample1", "guidance.up4"
    yield "upsample2", "guidance.up5"
    yield f"{HEAD}conv1", "aggregation.embed"
    yield f"{HEAD}guidance_projection.0", "aggregation.image_guidance"
    yield f"{HEAD}text_guidance_projection.0", "aggregation.text_guidance"
    for layer in range(_LAYERS):
        swin, spatial = f"{HEAD}layers.{layer}.swin_block", f"aggregation.layers.{layer}.spatial"
        yield f"{swin}.guidance_norm", f"{spatial}.guidance_norm"
        for block in range(2):
            for theirs, ours in _SWIN_BLOCK.items():
                yield f"{swin}.block_{block + 1}.{theirs}", f"{spatial}.blocks.{block}.{ours}"
        for theirs, ours in _CLASS_ATTENTION.items():
            yield f"{HEAD}layers.{layer}.attention.{theirs}", f"aggregation.layers.{layer}.classes.{ours}"
    for stage in range(2):
        yield f"{HEAD}decoder_guidance_projection.{stage}.0", f"decoder.guidance.{stage}"
        for theirs, ours in _UP_STAGE.items():
            yield f"{HEAD}decoder{stage + 1}.{theirs}", f"decoder.stages.{stage}.{ours}"
    yield f"{HEAD}head", "decoder.head"


_SWIN_BLOCK = {f"attn.{n}": n for n in ("q", "k", "v", "proj")}
_SWIN_BLOCK |= {"mlp.fc1": "fc1", "mlp.fc2": "fc2", "norm1": "norm1", "norm2": "norm2"}
_CLASS_ATTENTION = {f"attention.{n}": n for n in ("q", "k", "v")}
_CLASS_ATTENTION |= {"MLP.0": "fc1", "MLP.2": "fc2", "norm1": "norm1", "norm2": "norm2"}
_CLASS_ATTENTION |= {"padding_tokens": "padding_token", "padding_guidance": "padding_guidance"}
_UP_STAGE = {"up": "up"} | {
    f"conv.double_conv.{i}": n for i, n in ((0, "conv1"), (1, "norm1"), (3, "conv2"), (4, "norm2"))
}

_TO_PHYSSEG = dict(_modules())
_TO_CATSEG = {ours: theirs for theirs, ours in _TO_PHYSSEG.items()}


def _rename(name: str, table: Mapping[str, str]) -> str | None:
    """Replace the longest known prefix that ends at a dot (or the whole name); None: unknown."""
    head = name
    while head:
        if head in table:
            return table[head] + name[len(head) :]
        head = head.rpartition(".")[0]
    return None


def physseg_name(published: str) -> str:
    """physseg's name of a published parameter; the same name where no rule knows it."""
    return _rename(published, _TO_PHYSSEG) or published


def to_physseg(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename a published state dict of either design.

    Buffers that physseg computes are dropped, padding vectors flattened, packed q, k and v weights split.

    Returns:
        the physseg state dict, and the names that no rule knows.
    """
    converted, unknown = {}, []
    for name, value in state_dict.items():
        if is_computed(name):
            continue
        ours = _rename(name, _TO_PHYSSEG)
        if ours is None:
            unknown.append(name)
        elif ours.endswith(_PACKED):
            stem = ours.removesuffix(_PACKED)
            converted |= {stem + leaf: part for leaf, part in zip(_SPLIT, value.chunk(3), strict=True)}
        else:
            converted[ours] = value.flatten() if ".classes.padding_" in ours else value
    return converted, unknown


def to_catseg(state_dict: Mapping[str, Tensor], packed: bool = False) -> tuple[dict[str, Tensor], list[str]]:
    """Inverse of `to_physseg`, but for the computed buffers, which the caller adds.

    Args:
        packed: q, k and v weights of CLIP in one (2023 design).
    """
    converted, unknown = {}, []
    for name, value in state_dict.items():
        theirs = _rename(name, _TO_CATSEG)
        if theirs is None:
            unknown.append(name)
        elif packed and theirs.endswith(_SPLIT):
            stem = theirs[: -len(_SPLIT[0])]
            if all(name[: -len(_SPLIT[0])] + leaf in state_dict for leaf in _SPLIT):
                parts = [state_dict[name[: -len(_SPLIT[0])] + leaf] for leaf in _SPLIT]
                converted[stem + _PACKED] = torch.cat(parts)
            else:
                unknown.append(name)
        else:
            converted[theirs] = value.view(1, 1, -1) if ".classes.padding_" in name else value
    return converted, unknown
