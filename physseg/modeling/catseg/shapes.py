"""Names and shapes of a published CAT-Seg checkpoint of either design, from the sizes of its parts."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

from torch import Tensor

from physseg.modeling.catseg.backbone_shapes import GUIDANCE_CHANNELS, backbone_shapes
from physseg.modeling.catseg.names import BACKBONE, CLIP, HEAD

# The published designs' constants, the same for every CLIP.
GRID, WINDOW = 24, 12
_DIM, _VOCABULARY, _CONTEXT = 128, 49408, 77
_UPSAMPLED, _GUIDANCE, _DECODER = (256, 128), (32, 16), (64, 32)

Shapes = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Sizes:
    """width, layers: of the image transformer. patch, native: side of a patch in pixels, of the grid of the stored
    positional embedding in patches. embed: CLIP's embedding. templates: prompt templates. backbone: "swin" or "resnet"
    in the 2023 design, empty in CVPR'24's. mlp: hidden channels of the image transformer's MLPs over its width.
    """

    width: int
    layers: int
    patch: int
    native: int
    embed: int
    text_width: int
    text_layers: int
    templates: int = 1
    backbone: str = ""
    mlp: float = 4.0

    @property
    def design(self) -> str:
        return "2023" if self.backbone else "CVPR'24"


# Sizes of published checkpoints, and the config that builds the model.
CONFIGS = {
    "configs/catseg_vitb16.yaml": Sizes(768, 12, 16, 14, 512, 512, 12),
    "configs/catseg_vitl14.yaml": Sizes(1024, 24, 14, 24, 768, 768, 12),
    "configs/catseg_2023_vitb16_r101.yaml": Sizes(768, 12, 16, 14, 512, 512, 12, 80, "resnet"),
    "configs/catseg_2023_vitl14_swinb.yaml": Sizes(1024, 24, 14, 24, 768, 768, 12, 80, "swin"),
    "configs/catseg_2023_vith14_swinb.yaml": Sizes(1280, 32, 14, 24, 1024, 1024, 24, 80, "swin"),
    "configs/catseg_2023_vitg14_swinb.yaml": Sizes(1664, 48, 14, 24, 1280, 1280, 32, 80, "swin", 8192 / 1664),
}


def read_sizes(state_dict: Mapping[str, Tensor]) -> Sizes:
    """Sizes of a checkpoint: those of a published one where the image width says which, else read off its tensors.

    Raises:
        KeyError: a tensor that is needed to tell is missing; its name is the error's argument.
    """
    width = state_dict[f"{CLIP}.visual.class_embedding"].numel()
    found = Sizes(
        width=width,
        layers=_depth(state_dict, f"{CLIP}.visual.transformer.resblocks."),
        patch=_axis(state_dict, f"{CLIP}.visual.conv1.weight", -1),
        native=math.isqrt(max(_axis(state_dict, f"{CLIP}.visual.positional_embedding", 0) - 1, 0)),
        embed=_axis(state_dict, f"{CLIP}.text_projection", -1),
        text_width=_axis(state_dict, f"{CLIP}.ln_final.weight", 0),
        text_layers=_depth(state_dict, f"{CLIP}.transformer.resblocks."),
        templates=_axis(state_dict, f"{HEAD}conv1.weight", 1),
        backbone=_backbone(state_dict),
    )
    known = [sizes for sizes in CONFIGS.values() if (sizes.width, sizes.backbone) == (width, found.backbone)]
    return replace(known[0], templates=found.templates) if known else found


def _backbone(state_dict: Mapping[str, Tensor]) -> str:
    """Which design: q, k and v apart in CLIP's attention are CVPR'24's, a backbone is 2023's."""
    if f"{CLIP}.visual.transformer.resblocks.0.attn.q_proj_weight" in state_dict:
        return ""
    if any(name.startswith((f"{BACKBONE}patch_embed.", f"{BACKBONE}layers.")) for name in state_dict):
        return "swin"
    return "resnet" if any(name.startswith((f"{BACKBONE}stem.", f"{BACKBONE}res")) for name in state_dict) else ""


def fitting_config(sizes: Sizes) -> str | None:
    """The config of a published CLIP with these sizes, whatever its templates."""
    for config, known in CONFIGS.items():
        if all(getattr(sizes, f.name) == getattr(known, f.name) for f in fields(Sizes) if f.name != "templates"):
            return config
    return None


def published_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Every name that a checkpoint of these sizes must hold, and its shape."""
    if sizes.backbone:
        return dict([*backbone_shapes(sizes.backbone), *_clip(sizes), *_head(sizes)])
    return dict([*_clip(sizes), *_head(sizes), *_upsampling(sizes)])


def _clip(s: Sizes) -> Shapes:
    yield f"{CLIP}.positional_embedding", (_CONTEXT, s.text_width)
    yield f"{CLIP}.text_projection", (s.text_width, s.embed)
    yield f"{CLIP}.logit_scale", ()
    yield f"{CLIP}.token_embedding.weight", (_VOCABULARY, s.text_width)
    yield from _affine(f"{CLIP}.ln_final", s.text_width)
    visual = f"{CLIP}.visual"
    yield f"{visual}.class_embedding", (s.width,)
    yield f"{visual}.positional_embedding", (1 + s.native**2, s.width)
    yield f"{visual}.proj", (s.width, s.embed)
    yield f"{visual}.conv1.weight", (s.width, 3, s.patch, s.patch)
    yield from _affine(f"{visual}.ln_pre", s.width)
    yield from _affine(f"{visual}.ln_post", s.width)
    towers = (
        (visual, s.layers, s.width, round(s.mlp * s.width)),
        (CLIP, s.text_layers, s.text_width, 4 * s.text_width),
    )
    for tower, layers, width, hidden in towers:
        for layer in range(layers):
            yield from _block(f"{tower}.transformer.resblocks.{layer}", width, hidden, packed=bool(s.backbone))


def _block(name: str, width: int, hidden: int, packed: bool) -> Shapes:
    if packed:
        yield f"{name}.attn.in_proj_weight", (3 * width, width)
    else:
        for which in "qkv":
            yield f"{name}.attn.{which}_proj_weight", (width, width)
    yield f"{name}.attn.in_proj_bias", (3 * width,)
    yield from _layer(f"{name}.attn.out_proj", width, width)
    yield from _affine(f"{name}.ln_1", width)
    yield from _layer(f"{name}.mlp.c_fc", hidden, width)
    yield from _layer(f"{name}.mlp.c_proj", width, hidden)
    yield from _affine(f"{name}.ln_2", width)


def _head(s: Sizes) -> Shapes:
    for layer in range(2):
        yield from _aggregation(f"{HEAD}layers.{layer}", padded=not s.backbone)
    yield from _layer(f"{HEAD}conv1", _DIM, s.templates, 7, 7)
    image, *finer = GUIDANCE_CHANNELS.get(s.backbone, (s.embed, *_UPSAMPLED))
    yield from _layer(f"{HEAD}guidance_projection.0", _DIM, image, 3, 3)
    yield from _layer(f"{HEAD}text_guidance_projection.0", _DIM, s.embed)
    channels_in = _DIM
    for stage, (upsampled, guidance, channels) in enumerate(zip(finer, _GUIDANCE, _DECODER, strict=True)):
        yield from _layer(f"{HEAD}decoder_guidance_projection.{stage}.0", guidance, upsampled, 3, 3)
        decoder = f"{HEAD}decoder{stage + 1}"
        yield f"{decoder}.up.weight", (channels_in, channels_in - guidance, 2, 2)
        yield f"{decoder}.up.bias", (channels_in - guidance,)
        yield f"{decoder}.conv.double_conv.0.weight", (channels, channels_in, 3, 3)
        yield from _affine(f"{decoder}.conv.double_conv.1", channels)
        yield f"{decoder}.conv.double_conv.3.weight", (channels, channels, 3, 3)
        yield from _affine(f"{decoder}.conv.double_conv.4", channels)
        channels_in = channels
    yield from _layer(f"{HEAD}head", 1, _DECODER[-1], 3, 3)


def _aggregation(name: str, padded: bool) -> Shapes:
    for block in (1, 2):
        swin = f"{name}.swin_block.block_{block}"
        yield from _affine(f"{swin}.norm1", _DIM)
        yield from _guided_attention(f"{swin}.attn")
        yield from _layer(f"{swin}.attn.proj", _DIM, _DIM)
        yield from _affine(f"{swin}.norm2", _DIM)
        yield from _layer(f"{swin}.mlp.fc1", 4 * _DIM, _DIM)
        yield from _layer(f"{swin}.mlp.fc2", _DIM, 4 * _DIM)
    yield f"{name}.swin_block.block_2.attn_mask", ((GRID // WINDOW) ** 2, WINDOW**2, WINDOW**2)
    yield from _affine(f"{name}.swin_block.guidance_norm", _DIM)
    classes = f"{name}.attention"
    if padded:
        yield f"{classes}.padding_tokens", (1, 1, _DIM)
        yield f"{classes}.padding_guidance", (1, 1, _DIM)
    yield from _guided_attention(f"{classes}.attention")
    yield from _layer(f"{classes}.MLP.0", 4 * _DIM, _DIM)
    yield from _layer(f"{classes}.MLP.2", _DIM, 4 * _DIM)
    yield from _affine(f"{classes}.norm1", _DIM)
    yield from _affine(f"{classes}.norm2", _DIM)


def _guided_attention(name: str) -> Shapes:
    yield from _layer(f"{name}.q", _DIM, 2 * _DIM)
    yield from _layer(f"{name}.k", _DIM, 2 * _DIM)
    yield from _layer(f"{name}.v", _DIM, _DIM)


def _upsampling(s: Sizes) -> Shapes:
    for index, (channels, kernel) in enumerate(zip(_UPSAMPLED, (2, 4), strict=True)):
        yield f"upsample{index + 1}.weight", (s.width, channels, kernel, kernel)
        yield f"upsample{index + 1}.bias", (channels,)


def _layer(name: str, *shape: int) -> Shapes:
    """Weight and bias of a linear layer or convolution, output channels first."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _affine(name: str, channels: int) -> Shapes:
    yield from _layer(name, channels)


def _axis(state_dict: Mapping[str, Tensor], name: str, axis: int) -> int:
    tensor = state_dict[name]
    return tensor.shape[axis] if -tensor.ndim <= axis < tensor.ndim else 0


def _depth(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    numbers = [int(name[len(prefix) :].split(".")[0]) for name in state_dict if name.startswith(prefix)]
    return max(numbers, default=-1) + 1
