"""Published CAT-Seg state dicts <-> physseg's: one table of names, read both ways."""

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

CLIP = "sem_seg_head.predictor.clip_model"
HEAD = "sem_seg_head.predictor.transformer."
# Window masks: published checkpoints hold them, physseg computes them.
_MASK = re.compile(re.escape(HEAD) + r"layers\.\d+\.swin_block\.block_\d+\.attn_mask")
_LAYERS = 2


def _modules() -> Iterator[tuple[str, str]]:
    """(published, physseg) prefix of every module, and whole names of bare parameters."""
    yield CLIP, "clip.model"
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
    """Rename a published state dict; window masks are dropped and padding vectors flattened.

    Returns:
        the physseg state dict, and the names that no rule knows.
    """
    converted, unknown = {}, []
    for name, value in state_dict.items():
        if _MASK.fullmatch(name):
            continue
        ours = _rename(name, _TO_PHYSSEG)
        if ours is None:
            unknown.append(name)
        else:
            converted[ours] = value.flatten() if ".classes.padding_" in ours else value
    return converted, unknown


def to_catseg(state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Inverse of `to_physseg`, but for the window masks, which the caller adds from the model."""
    converted, unknown = {}, []
    for name, value in state_dict.items():
        theirs = _rename(name, _TO_CATSEG)
        if theirs is None:
            unknown.append(name)
        else:
            converted[theirs] = value.view(1, 1, -1) if ".classes.padding_" in name else value
    return converted, unknown
