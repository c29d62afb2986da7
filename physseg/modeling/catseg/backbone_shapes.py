"""Names and shapes of the appearance backbones in published CAT-Seg checkpoints of 2023: Swin-B and ResNet-101.

Both end at stride 16: Swin's fourth stage and ResNet's res5 are not built.
"""

from collections.abc import Iterator

from physseg.modeling.catseg.names import BACKBONE

Shapes = Iterator[tuple[str, tuple[int, ...]]]

# Channels of the maps at stride 16, 8 and 4.
GUIDANCE_CHANNELS = {"swin": (512, 256, 128), "resnet": (1024, 512, 256)}
SWIN_WINDOW = 12
_SWIN_DIM, _SWIN_DEPTHS, _SWIN_HEADS = 128, (2, 2, 18), (4, 8, 16)
_RESNET_DEPTHS = {"res2": 3, "res3": 4, "res4": 23}


def backbone_shapes(backbone: str) -> Shapes:
    """Names and shapes of "swin" or "resnet", computed buffers included."""
    return _swin() if backbone == "swin" else _resnet()


def _swin() -> Shapes:
    yield f"{BACKBONE}patch_embed.proj.weight", (_SWIN_DIM, 3, 4, 4)
    yield f"{BACKBONE}patch_embed.proj.bias", (_SWIN_DIM,)
    yield from _linear(f"{BACKBONE}patch_embed.norm", _SWIN_DIM)
    for stage, (depth, heads) in enumerate(zip(_SWIN_DEPTHS, _SWIN_HEADS, strict=True)):
        dim, name = _SWIN_DIM << stage, f"{BACKBONE}layers.{stage}"
        for block in range(depth):
            yield from _swin_block(f"{name}.blocks.{block}", dim, heads)
        if stage + 1 < len(_SWIN_DEPTHS):
            yield from _linear(f"{name}.downsample.norm", 4 * dim)
            yield f"{name}.downsample.reduction.weight", (2 * dim, 4 * dim)
        yield from _linear(f"{BACKBONE}norm{stage}", dim)


def _swin_block(name: str, dim: int, heads: int) -> Shapes:
    yield from _linear(f"{name}.norm1", dim)
    yield f"{name}.attn.relative_position_bias_table", ((2 * SWIN_WINDOW - 1) ** 2, heads)
    yield f"{name}.attn.relative_position_index", (SWIN_WINDOW**2, SWIN_WINDOW**2)
    yield from _linear(f"{name}.attn.qkv", 3 * dim, dim)
    yield from _linear(f"{name}.attn.proj", dim, dim)
    yield from _linear(f"{name}.norm2", dim)
    yield from _linear(f"{name}.mlp.fc1", 4 * dim, dim)
    yield from _linear(f"{name}.mlp.fc2", dim, 4 * dim)


def _resnet() -> Shapes:
    channels = 64
    yield from _conv(f"{BACKBONE}stem.conv1", channels, 3, 7)
    for stage, (name, depth) in enumerate(_RESNET_DEPTHS.items()):
        inner, outer = 64 << stage, 256 << stage
        for block in range(depth):
            prefix = f"{BACKBONE}{name}.{block}"
            if block == 0:
                yield from _conv(f"{prefix}.shortcut", outer, channels, 1)
            yield from _conv(f"{prefix}.conv1", inner, channels, 1)
            yield from _conv(f"{prefix}.conv2", inner, inner, 3)
            yield from _conv(f"{prefix}.conv3", outer, inner, 1)
            channels = outer


def _linear(name: str, *shape: int) -> Shapes:
    """Weight and bias, output channels first."""
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _conv(name: str, channels: int, channels_in: int, kernel: int) -> Shapes:
    """A convolution without bias, and its frozen batch norm."""
    yield f"{name}.weight", (channels, channels_in, kernel, kernel)
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.norm.{leaf}", (channels,)
