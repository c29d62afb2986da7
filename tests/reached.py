"""Which parameters a loss teaches."""

from torch import Tensor, nn


def reached_by(loss: Tensor, model: nn.Module) -> set[str]:
    """Names of the parameters with a gradient other than 0."""
    model.zero_grad()
    loss.backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
