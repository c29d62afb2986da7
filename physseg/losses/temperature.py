"""CLIP's learnt temperature (Radford et al., ICML 2021): log(1 / tau) is the parameter, and 1 / tau is held at 100."""

import math

import torch
from torch import Tensor, nn

MAX_SCALE = 100.0
"""CLIP's bound on 1 / tau."""


def log_scale_parameter(temperature: float, key: str) -> nn.Parameter:
    """log(1 / tau) of an initial tau, so that tau is positive by construction.

    Args:
        key: the config's, for the message.

    Raises:
        ValueError: a tau that the bound would change at once.
    """
    if temperature < 1 / MAX_SCALE:
        raise ValueError(f"{key} must be at least {1 / MAX_SCALE}; got {temperature}")
    return nn.Parameter(torch.tensor(-math.log(temperature)))


def held_scale(log_scale: nn.Parameter) -> Tensor:
    """1 / tau, at most `MAX_SCALE`."""
    with torch.no_grad():  # CLIP clamps the parameter itself; in the graph its gradient would be cut for good
        log_scale.clamp_(max=math.log(MAX_SCALE))
    return log_scale.exp()
