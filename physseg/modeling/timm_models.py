"""Vision models of timm by name, with weights by tag, by local file, or random."""

from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn


def create_timm(
    key: str,
    name: str,
    pretrained: str,
    options: dict[str, Any],
    on_meta: bool = False,
    needed: Callable[[nn.Module], Sequence[str]] = lambda model: (),
) -> nn.Module:
    """A timm model.

    Args:
        key: section of the config that names it, for messages: it has NAME and PRETRAINED.
        name: timm model name, without a tag.
        pretrained: timm tag, local file, or "" for random weights.
        options: of `timm.create_model`.
        on_meta: without values, to ask for sizes.
        needed: names of a model's tensors that a file must hold: timm passes over what stages (features_only) lack.

    Raises:
        ValueError: an unknown name or tag, or weights that do not fit.
        FileNotFoundError: ``pretrained`` looks like a path and is none.
        ConnectionError: the tag's weights cannot be downloaded.
    """
    import timm  # comes with open_clip; takes a second to import

    if name not in timm.list_models():
        raise ValueError(f"{key}.NAME: timm {timm.__version__} has no model {name!r}; timm.list_models() lists them")
    if on_meta:
        with torch.device("meta"):
            return timm.create_model(name, pretrained=False, **options)
    if not pretrained:
        return timm.create_model(name, pretrained=False, **options)
    path = Path(pretrained).expanduser()
    if path.is_file():
        try:
            state = timm.models.load_state_dict(str(path), weights_only=True)
            overlay = {"state_dict": state}
            model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
        except (RuntimeError, UnpicklingError) as error:
            raise ValueError(f"{key}.PRETRAINED: {path} does not fit {name!r}: {error}") from None
        missing = [tensor for tensor in needed(model) if tensor not in state]
        if missing:
            raise ValueError(f"{key}.PRETRAINED: {path} does not fit {name!r}: it has no {missing[0]}")
        return model
    if path.suffix or "/" in pretrained:
        raise FileNotFoundError(f"{key}.PRETRAINED: no file {path}; expected weights of {name} or a timm tag")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]
    if pretrained not in tags:
        raise ValueError(f"{key}.PRETRAINED: {name!r} has no weights {pretrained!r}; known tags: {tags}")
    try:
        return timm.create_model(f"{name}.{pretrained}", pretrained=True, **options)
    except Exception as error:
        raise ConnectionError(
            f"could not download the weights {name}.{pretrained} ({type(error).__name__}: {error}). Without a network, "
            f"put the file on this machine and set {key}.PRETRAINED to its path, or set MODEL.WEIGHTS to a physseg "
            "checkpoint, which holds these weights too."
        ) from error


def timm_statistics(model: nn.Module) -> tuple[Tensor, Tensor]:
    """RGB mean and standard deviation (3, 1, 1) of a timm model's training images, in 0-255 units."""
    cfg = model.pretrained_cfg
    return tuple(255 * torch.tensor(cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
