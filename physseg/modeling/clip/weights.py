"""CLIP models by open_clip name, with weights by tag, by local file, shipped, or random."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import open_clip
import timm
import torch
from open_clip.factory import convert_state_dict
from open_clip.model import resize_pos_embed
from open_clip.timm_model import TimmModel
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, TextTransformer, VisionTransformer
from timm.layers import AttentionPoolLatent
from torch import Tensor, nn

from physseg.modeling.clip.quick_gelu import QuickGELUMLP
from physseg.modeling.clip.split_attention import SplitAttention
from physseg.toy_world.clip import WEIGHTS, load_toy_clip_state_dict, register_toy_clip


def create_clip(name: str, pretrained: str, load_weights: bool = True, image_size: int | None = None) -> nn.Module:
    """An open_clip model in float32 whose attention is `SplitAttention`, timm's image towers taking any grid.

    Args:
        name: open_clip model name, or "physseg-toy": a plain ViT with a class token (CLIP's, MetaCLIP's, ...), or a
            tower of timm that ends in an attention pool (PE-Core, SigLIP 2).
        pretrained: open_clip tag, local file, "toy" or "toy-contrastive" (shipped), or "" for random weights.
        load_weights: False leaves random weights and reads or downloads nothing: the caller loads them.
        image_size: side in pixels for which positional embeddings are stored, resized bicubically with antialiasing
            where the weights have others; None: that of the weights.

    Raises:
        ValueError: unknown name, a tower of another kind, an unknown tag, a tag of another activation, or weights that
            do not fit.
        FileNotFoundError: `pretrained` looks like a path and is none.
        ConnectionError: the tag's weights cannot be downloaded.
    """
    register_toy_clip()
    if name not in open_clip.list_models():
        raise ValueError(f"MODEL.CLIP.NAME: open_clip has no model {name!r}; open_clip.list_models() lists them")
    _check_activation(name, pretrained)
    # open_clip switches to OpenAI's activation when it loads OpenAI's weights; a random start must match.
    with _quiet():
        model = open_clip.create_model(
            name,
            load_weights=False,
            force_quick_gelu=pretrained == "openai",
            force_image_size=image_size,
            device=torch.get_default_device(),  # open_clip's own default would not let one build on "meta"
        )
    _check_towers(name, model)
    if isinstance(model.visual, TimmModel):
        trunk = model.visual.trunk
        options = {"num_classes": trunk.num_classes, "global_pool": trunk.global_pool, "dynamic_img_size": True}
        timm_name = open_clip.get_model_config(name)["vision_cfg"]["timm_model_name"]
        model.visual.trunk = timm.create_model(timm_name, pretrained=False, **options)
    if load_weights and pretrained:
        state_dict = _state_dict(name, pretrained)
        try:
            model.load_state_dict(_fit(model, state_dict, resize_positions=image_size is not None))
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


def _check_activation(name: str, pretrained: str) -> None:
    """Refuse a tag trained with QuickGELU for a model without it: open_clip only warns, and the features are wrong."""
    if pretrained == "openai" or pretrained not in open_clip.list_pretrained_tags_by_model(name):
        return
    wanted = bool(open_clip.get_pretrained_cfg(name, pretrained).get("quick_gelu"))
    if wanted != bool(open_clip.get_model_config(name).get("quick_gelu")):
        right = f"{name}-quickgelu" if wanted else name.removesuffix("-quickgelu")
        raise ValueError(
            f"MODEL.CLIP.PRETRAINED: {pretrained!r} was trained with{'' if wanted else 'out'} QuickGELU and {name!r} "
            f"is a model with{'out' if wanted else ''} it: set MODEL.CLIP.NAME to {right!r}"
        )


def is_causal(model: nn.Module) -> bool:
    """Whether a text token sees earlier ones alone, as in CLIP, and not all (SigLIP)."""
    return getattr(text_tower(model), "attn_mask", None) is not None


def _check_towers(name: str, model: nn.Module) -> None:
    visual, text = model.visual, text_tower(model)
    if isinstance(visual, TimmModel):
        pool = getattr(visual.trunk, "attn_pool", None)
        fits = isinstance(pool, AttentionPoolLatent) and pool.pos_embed is None and hasattr(visual.trunk, "blocks")
    else:
        fits = isinstance(visual, VisionTransformer) and visual.attn_pool is None and visual.pool_type == "tok"
    plain_text = text is model or isinstance(text, TextTransformer)
    towers = (visual, text) if isinstance(visual, VisionTransformer) else (text,)
    blocks = [m for part in towers if hasattr(part, "transformer") for m in part.transformer.resblocks]
    if not (fits and plain_text and all(isinstance(m, ResidualAttentionBlock) for m in blocks)):
        raise ValueError(
            f"MODEL.CLIP.NAME: {name!r} is not a plain ViT with a class token, nor one of timm with an attention pool, "
            "beside CLIP's text transformer; the dense path needs one, such as ViT-B-16-quickgelu, "
            "ViT-L-14-336-quickgelu, ViT-H-14, PE-Core-B-16 or ViT-B-16-SigLIP2-384"
        )
    pool_type = getattr(text, "text_pool_type", getattr(text, "pool_type", "argmax"))
    padded = getattr(text, "use_pad_mask", False) or getattr(text, "cls_emb", None) is not None
    if pool_type != ("argmax" if is_causal(model) else "last") or padded:
        raise ValueError(
            f"MODEL.CLIP.NAME: the text tower of {name!r} pools by {pool_type!r}; expected EOT (argmax) of a causal "
            "one, or the last token of one that sees all, without a mask or a class token of its own"
        )


def _state_dict(name: str, pretrained: str) -> dict[str, Tensor]:
    if pretrained in WEIGHTS:
        return load_toy_clip_state_dict(WEIGHTS[pretrained])
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


def _fit(model: nn.Module, state_dict: dict[str, Tensor], resize_positions: bool) -> dict[str, Tensor]:
    """Third-party names to open_clip's; float32; buffers and sizes that OpenAI's archive carries along dropped."""
    state_dict = convert_state_dict(model, dict(state_dict))
    if resize_positions:
        resize_pos_embed(state_dict, model)
    drop = ("input_resolution", "context_length", "vocab_size", "attn_mask", "text.attn_mask")
    return {
        key: value.float() if value.is_floating_point() else value
        for key, value in state_dict.items()
        if key not in drop
    }
