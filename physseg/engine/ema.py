"""Running average of the trained weights."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class WeightEMA:
    """Exponential moving average ``a <- d a + (1 - d) w`` of a model's trainable parameters, in float32.

    Frozen parameters and buffers are the model's own. The decay starts low, ``min(decay, (1 + n) / (10 + n))`` after n
    updates, so that the random start is forgotten (as in TensorFlow's ExponentialMovingAverage).

    Args:
        model: its trainable parameters are copied.
        decay: d, between 0 and 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average = {name: p.detach().float().clone() for name, p in _trainable(model)}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model's present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, parameter in _trainable(model):
            self.average[name].lerp_(parameter.detach().float(), 1 - decay)

    @torch.no_grad()
    def reset(self, model: nn.Module) -> None:
        """Start again from the model's present weights."""
        self.updates = 0
        for name, parameter in _trainable(model):
            self.average[name].copy_(parameter)

    @contextlib.contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model has the averaged weights inside and its own again afterwards."""
        own: dict[str, Tensor] = {name: p.detach().clone() for name, p in _trainable(model)}
        try:
            self._write(model, self.average)
            yield
        finally:
            self._write(model, own)

    def state_dict(self) -> dict[str, Any]:
        """Averaged weights by parameter name, and the number of updates."""
        return {"updates": self.updates, "average": dict(self.average)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved average.

        Raises:
            ValueError: it is of other parameters.
        """
        if state["average"].keys() != self.average.keys():
            different = sorted(state["average"].keys() ^ self.average.keys())
            raise ValueError(
                f"The checkpoint's weight average does not fit: {len(different)} parameters are trained on one side "
                f"only, such as {different[0]}. Check MODEL.CLIP.FINETUNE."
            )
        self.updates = state["updates"]
        for name, value in state["average"].items():
            self.average[name].copy_(value)

    @staticmethod
    @torch.no_grad()
    def _write(model: nn.Module, values: dict[str, Tensor]) -> None:
        for name, parameter in _trainable(model):
            parameter.copy_(values[name])


def _trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)
