"""SegCLIP's published weights (`segclip.bin`) -> physseg's, or an error that says what does not fit."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.published_weights import Conversion, PublishedWeightsError, check_tensors, misfits
from physseg.modeling.without_masks.group_segmenter import GroupProtocol
from physseg.modeling.without_masks.masked_autoencoder import MaskedDecoder, sine_positions
from physseg.modeling.without_masks.reconstruction import GroupReconstruction
from physseg.modeling.without_masks.segclip import SegCLIP
from physseg.modeling.without_masks.segclip_grouping import SegClipGrouping

_TOWER = "clip.visual.transformer"
_GROUPING = f"{_TOWER}.semantic_layer2"
_DECODER = "vis_mae_decoder"
_POSITIONS = f"{_DECODER}.decoder_pos_embed"
_EARLY = 10
# Published name, or the beginning of one, -> ours; the first that fits holds.
_NAMES = (
    *((f"{_TOWER}.layers0.{i}.", f"clip.model.visual.transformer.resblocks.{i}.") for i in range(_EARLY)),
    *((f"{_TOWER}.layers2.{i}.", f"clip.model.visual.transformer.resblocks.{_EARLY + i}.") for i in range(2)),
    (f"{_TOWER}.layers_mae2.", "reconstruction.blocks."),
    (f"{_TOWER}.reconstruct_layer2.rec_proj_a.a_fc.", "reconstruction.mix."),
    (f"{_GROUPING}.semantic_center", "grouping.centres"),
    *((f"{_GROUPING}.cross_att.{i}.ln_k.", f"grouping.blocks.{i}.ln_context.") for i in range(2)),
    (f"{_GROUPING}.cross_att.", "grouping.blocks."),
    (f"{_GROUPING}.cross_ln.", "grouping.norm_queries."),
    (f"{_GROUPING}.norm.", "grouping.norm_patches."),
    (f"{_GROUPING}.k_conv.", "grouping.key."),
    (f"{_GROUPING}.k_ln.", "grouping.norm_keys."),
    (f"{_GROUPING}.v_conv.", "grouping.value."),
    (f"{_GROUPING}.proj_o.ln.", "grouping.norm_out."),
    (f"{_GROUPING}.proj_o.mlp.", "grouping."),
    (f"{_DECODER}.mask_token", "reconstruction.decoder.mask_token"),
    (f"{_DECODER}.decoder_", "reconstruction.decoder."),
    ("clip.logit_scale", "contrastive.log_scale"),
    ("clip.", "clip.model."),
)
_RENAMED = {"reconstruction.decoder.pred.": "reconstruction.decoder.predict."}
_PACKED = ".attn.in_proj_weight"
_SPLIT = tuple(f".attn.{letter}_proj_weight" for letter in "qkv")


class SegClipCheckpointError(PublishedWeightsError):
    """SegCLIP's weights, or none, that cannot be converted."""


def is_segclip(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether these are weights with SegCLIP's published names, fitting or not."""
    return any(name.startswith((f"{_GROUPING}.", f"{_TOWER}.layers0.")) for name in state_dict)


def from_segclip(state_dict: Mapping[str, Tensor]) -> Conversion:
    """Published weights -> physseg's. Tensors keep their dtype.

    The decoder's positions are computed here; where they are in the file they are checked and dropped.

    Raises:
        SegClipCheckpointError: keys are missing, unexpected or misshapen, or the positions are others.
    """
    check_tensors(state_dict, SegClipCheckpointError)
    positions = state_dict.get(_POSITIONS)
    if positions is not None and not _are_sine_positions(positions):
        raise SegClipCheckpointError(
            f"{_POSITIONS} {tuple(positions.shape)} are not the sine and cosine positions of 14x14 patches and 384 "
            "channels: the weights are of another design"
        )
    converted: dict[str, Tensor] = {}
    for name, value in state_dict.items():
        if name != _POSITIONS:
            converted |= _converted(name, value)
    lines = misfits(converted, expected_shapes(), published_name)
    if lines:
        raise SegClipCheckpointError(
            "\n".join(
                [
                    "weights do not fit SegCLIP, ViT-B/16 with 8 centres (configs/without_masks/segclip_vitb16.yaml):",
                    *lines,
                ]
            )
        )
    return Conversion(converted, "ICML 2023", "configs/without_masks/segclip_vitb16.yaml", [], "SegCLIP")


def _converted(name: str, value: Tensor) -> dict[str, Tensor]:
    ours = _rename(name)
    if ours.endswith(_PACKED):
        stem = ours.removesuffix(_PACKED)
        return {stem + leaf: part for leaf, part in zip(_SPLIT, value.chunk(3), strict=True)}
    if ours == "contrastive.log_scale":
        return {ours: value, "clip.model.logit_scale": value}
    return {ours: value.flatten() if ours.endswith(".mask_token") else value}


def _rename(name: str) -> str:
    for theirs, ours in _NAMES:
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
            break
    for before, after in _RENAMED.items():
        name = name.replace(before, after)
    return name


def published_name(ours: str) -> str:
    """The published name behind one of ours; an unknown one stays."""
    name = re.sub(r"\.attn\.[qkv]_proj_weight$", _PACKED, ours)
    for after, before in _RENAMED.items():
        name = name.replace(before, after)
    for theirs, prefix in _NAMES:
        if name.startswith(prefix):
            return theirs + name.removeprefix(prefix)
    return name


def _are_sine_positions(positions: Tensor) -> bool:
    expected = torch.cat([torch.zeros(1, 384), sine_positions((14, 14), 384)])[None]
    return positions.shape == expected.shape and torch.allclose(positions.float(), expected, atol=1e-4)


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Our names and shapes of the published model."""
    return {name: tuple(value.shape) for name, value in published_model().state_dict().items()}


def published_model() -> SegCLIP:
    """The published sizes, without values."""
    with torch.device("meta"):
        clip = ClipEncoder("ViT-B-16-quickgelu", "", 224, load_weights=False, dense_path="maskclip")
        decoder = MaskedDecoder(768, 768, (14, 14), 384, 3, 8, summary=True)
        return SegCLIP(
            clip=clip,
            grouping=SegClipGrouping(768, groups=8, heads=12, layers=2),
            reconstruction=GroupReconstruction(decoder, 768, groups=8, heads=12),
            vocabulary=["object"],
            pixel_mean=(0.0, 0.0, 0.0),
            pixel_std=(1.0, 1.0, 1.0),
            protocol=GroupProtocol(),
        )
