"""Working on slices of classes (or positions): memory bounded by the slice, the same numbers."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *args: Tensor) -> Tensor:
    """`function(*args)`; where a gradient is wanted, only `args` are kept for it and the rest is computed again."""
    if not torch.is_grad_enabled():
        return function(*args)
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)


def map_chunks(function: Callable[..., Tensor], x: Tensor, dim: int, size: int, *args: Tensor) -> Tensor:
    """`function(slice, *args)` for slices of `x` along `dim`, put together along `dim` again.

    Where no gradient is wanted, slices are written into one output, so that buffers stay small and in cache.
    """
    parts = x.split(size, dim)
    if torch.is_grad_enabled():
        return torch.cat([function(part, *args) for part in parts], dim)
    first = function(parts[0], *args)
    if len(parts) == 1:
        return first
    shape = list(first.shape)
    shape[dim] = x.shape[dim]
    out = first.new_empty(shape)
    out.narrow(dim, 0, first.shape[dim]).copy_(first)
    del first
    start = parts[0].shape[dim]
    for part in parts[1:]:
        out.narrow(dim, start, part.shape[dim]).copy_(function(part, *args))
        start += part.shape[dim]
    return out


class _ChunkedSum(torch.autograd.Function):
    """Sum of a scalar function over slices; each slice's gradient is taken as soon as its value is known."""

    @staticmethod
    def forward(ctx, function, size: int, x: Tensor, *inputs: Tensor) -> Tensor:
        total = x.new_zeros((), dtype=_wide(x.dtype))
        wanted = [i for i, needs in enumerate(ctx.needs_input_grad[3:]) if needs]
        leaves = [t.detach().requires_grad_(needs) for t, needs in zip(inputs, ctx.needs_input_grad[3:], strict=True)]
        # Sums over slices lose digits in half precision.
        grads = [torch.zeros_like(leaves[i], dtype=_wide(leaves[i].dtype)) for i in wanted]
        grad_x = torch.empty_like(x)
        start = 0
        for part in x.split(size, 1):
            end = start + part.shape[1]
            with torch.enable_grad():
                part = part.detach().requires_grad_(True)
                value = function(part, start, *leaves)
            first, *rest = torch.autograd.grad(value, [part, *(leaves[i] for i in wanted)])
            grad_x[:, start:end] = first
            for grad, new in zip(grads, rest, strict=True):
                grad += new
            total += value.detach()
            start = end
        ctx.save_for_backward(grad_x, *grads)
        ctx.wanted = wanted
        ctx.dtypes = [t.dtype for t in inputs]
        return total

    @staticmethod
    def backward(ctx, grad_output: Tensor):
        grad_x, *grads = ctx.saved_tensors
        result: list[Tensor | None] = [None] * len(ctx.dtypes)
        for i, grad in zip(ctx.wanted, grads, strict=True):
            result[i] = (grad * grad_output).to(ctx.dtypes[i])
        return None, None, (grad_x * grad_output).to(grad_x.dtype), *result


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def chunked_sum(function: Callable[..., Tensor], x: Tensor, size: int, *inputs: Tensor) -> Tensor:
    """Sum over slices of `function(slice, start, *inputs)`, a scalar each.

    The value and every gradient are those of ``function(x, 0, *inputs)``, but only one slice's activations exist at a
    time and nothing is computed twice: the forward pass takes each slice's gradient at once and the backward pass
    scales it. The sum is unscaled on purpose (its gradients are of order one), so that half precision does not
    underflow; divide it outside.

    Args:
        function: must reach every tensor that wants a gradient through its arguments.
        x: (B, T, ...), sliced along T.
        size: classes in a slice.
        inputs: tensors used by every slice: weights, guidance maps.
    """
    if torch.is_grad_enabled() and (x.requires_grad or any(t.requires_grad for t in inputs)):
        return _ChunkedSum.apply(function, size, x, *inputs)
    parts = x.split(size, 1)
    starts = range(0, x.shape[1], size)
    return sum(function(part, start, *inputs) for part, start in zip(parts, starts, strict=True))
