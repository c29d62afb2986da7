"""CLIP models by open_clip name, with weights by tag, by local file, shipped, or random."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import open_clip
import torch
from open_clip.factory import convert_state_dict
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, TextTransformer, VisionTransformer
from torch import Tensor, nn

from physseg.modeling.clip.quick_gelu import QuickGELUMLP
from physseg.modeling.clip.split_attention import SplitAttention
from physseg.toy_world.clip import load_toy_clip_state_dict, register_toy_clip


def create_clip(name: str, pretrained: str, load_weights: bool = True) -> nn.Module:
    """An open_clip model in float32 whose attention is `SplitAttention`.

    Args:
        name: open_clip model name with a ViT image tower, or "physseg-toy".
        pretrained: open_clip tag, local file, "toy", or "" for random weights.
        load_weights: False leaves random weights and reads or downloads nothing: the caller loads them.

    Raises:
        ValueError: unknown name, a tower that is no plain ViT, an unknown tag, or weights that do not fit.
        FileNotFoundError: `pretrained` looks like a path and is none.
        ConnectionError: the tag's weights cannot be downloaded.
    """
    register_toy_clip()
    if name not in open_clip.list_models():
        raise ValueError(f"MODEL.CLIP.NAME: open_clip has no model {name!r}; open_clip.list_models() lists them")
    # open_clip switches to OpenAI's activation when it loads OpenAI's weights; a random start must match.
    with _quiet():
        model = open_clip.create_model(name, load_weights=False, force_quick_gelu=pretrained == "openai")
    _check_towers(name, model)
    if load_weights and pretrained:
        state_dict = _state_dict(name, pretrained)
        try:
            model.load_state_dict(_fit(model, state_dict))
        except RuntimeError as error:
            raise ValueError(f"weights {pretrained!r} (MODEL.CLIP.PRETRAINED) do not fit {name!r}: {error}") from None
    split_attention(model)
    for module in list(model.modules()):
        if isinstance(module, ResidualAttentionBlock) and isinstance(module.mlp.gelu, QuickGELU):
            module.mlp = QuickGELUMLP(module.mlp.c_fc, module.mlp.c_proj)
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back open_clip's warning of random weights: they are loaded next, or wanted."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def split_attention(model: nn.Module) -> None:
    """Replace every `nn.MultiheadAttention` of the towers by a `SplitAttention`, in place."""
    for module in list(model.modules()):
        if isinstance(module, ResidualAttentionBlock):
            module.attn = SplitAttention.from_packed(module.attn)


def text_tower(model: nn.Module) -> nn.Module:
    """The module that holds the text transformer: the model itself, or its `text` (CustomTextCLIP)."""
    return getattr(model, "text", model)


def _check_towers(name: str, model: nn.Module) -> None:
    visual, text = model.visual, text_tower(model)
    plain_image = isinstance(visual, VisionTransformer) and visual.attn_pool is None and visual.pool_type == "tok"
    plain_text = text is model or isinstance(text, TextTransformer)
    blocks = [m for part in (visual, text) if hasattr(part, "transformer") for m in part.transformer.resblocks]
    if not (plain_image and plain_text and all(isinstance(m, ResidualAttentionBlock) for m in blocks)):
        raise ValueError(
            f"MODEL.CLIP.NAME: {name!r} is not a plain ViT with a class token and CLIP's text transformer; the dense "
            "path needs one, such as ViT-B-16-quickgelu, ViT-L-14-336-quickgelu or ViT-H-14"
        )
    pool_type = getattr(text, "text_pool_type", getattr(text, "pool_type", "argmax"))
    if pool_type != "argmax":
        raise ValueError(f"MODEL.CLIP.NAME: the text tower of {name!r} pools by {pool_type!r}; expected EOT (argmax)")


def _state_dict(name: str, pretrained: str) -> dict[str, Tensor]:
    if pretrained == "toy":
        return load_toy_clip_state_dict()
    path = Path(pretrained).expanduser()
    if path.is_file():
        return _read(path)
    if path.suffix or "/" in pretrained:
        raise FileNotFoundError(f"MODEL.CLIP.PRETRAINED: no file {path}; expected CLIP weights or an open_clip tag")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained not in tags and pretrained != "openai":
        raise ValueError(f"MODEL.CLIP.PRETRAINED: {name!r} has no weights {pretrained!r}; known tags: {tags}")
    try:
        return open_clip.create_model(name, pretrained=pretrained).state_dict()
    except Exception as error:
        raise ConnectionError(
            f"could not download the CLIP weights {name} / {pretrained} ({type(error).__name__}: {error}). Without a "
            "network, put the file on this machine and set MODEL.CLIP.PRETRAINED to its path, or set MODEL.WEIGHTS to "
            "a physseg checkpoint, which holds CLIP's weights too."
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, a torch file, or OpenAI's TorchScript archive; no pickled code is run."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except RuntimeError as error:
        if "TorchScript" not in str(error):
            raise ValueError(f"MODEL.CLIP.PRETRAINED: {path} is no readable checkpoint: {error}") from None
        loaded = torch.jit.load(path, map_location="cpu").state_dict()
    except Exception as error:
        raise ValueError(f"MODEL.CLIP.PRETRAINED: {path} is no readable checkpoint: {error}") from None
    if "model" in loaded:
        raise ValueError(
            f"MODEL.CLIP.PRETRAINED: {path} is a checkpoint of a whole model, not of CLIP alone: set MODEL.WEIGHTS to "
            "it and MODEL.CLIP.PRETRAINED to ''"
        )
    state_dict = loaded.get("state_dict", loaded)
    return {key.removeprefix("module."): value for key, value in state_dict.items()}


def _fit(model: nn.Module, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Third-party names to open_clip's; float32; buffers and sizes that OpenAI's archive carries along dropped."""
    state_dict = convert_state_dict(model, dict(state_dict))
    drop = ("input_resolution", "context_length", "vocab_size", "attn_mask", "text.attn_mask")
    return {
        key: value.float() if value.is_floating_point() else value
        for key, value in state_dict.items()
        if key not in drop
    }
