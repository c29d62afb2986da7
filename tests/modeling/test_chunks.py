"""Work in slices: same values and gradients as all at once."""

from functools import partial

import pytest
import torch
from torch.autograd import gradcheck

from physseg.modeling.chunks import chunked_sum, map_chunks, recomputed

X = (2, 5, 3)


def scalar(part: torch.Tensor, start: int, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Depends on the slice's place, and not linearly on anything."""
    place = torch.arange(start, start + part.shape[1], dtype=part.dtype)[None, :, None]
    return ((part * weight + bias).sin() * (place + 1)).sum()


def tensors(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_chunked_sum_value_and_gradients(size):
    x, weight, bias = tensors(X, (3,), (1,))
    expected = scalar(x, 0, weight, bias)
    found = chunked_sum(scalar, x, size, weight, bias)
    torch.testing.assert_close(found, expected)
    assert gradcheck(lambda *t: chunked_sum(scalar, t[0], size, *t[1:]) / 7, (x, weight, bias))


def test_chunked_sum_with_inputs_that_want_no_gradient():
    x, weight, bias = tensors(X, (3,), (1,))
    weight.requires_grad_(False)
    chunked_sum(scalar, x, 2, weight, bias).backward()
    assert weight.grad is None
    torch.testing.assert_close(x.grad, torch.autograd.grad(scalar(x, 0, weight, bias), x)[0])


def test_chunked_sum_without_gradients():
    x, weight, bias = (t.detach() for t in tensors(X, (3,), (1,)))
    torch.testing.assert_close(chunked_sum(scalar, x, 2, weight, bias), scalar(x, 0, weight, bias))


def test_only_one_slice_is_alive_at_a_time():
    seen = []

    def function(part, start):
        seen.append(part.shape[1])
        return part.sum()

    chunked_sum(function, torch.zeros(1, 5, requires_grad=True), 2)
    assert seen == [2, 2, 1]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("recompute", [False, True])
def test_map_chunks(size, dim, recompute):
    (x,) = tensors((2, 5, 5, 3))

    def function(part, scale):
        return part.cos().cumsum(-1) * scale

    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    expected = function(x, scale)
    run = partial(recomputed, function) if recompute else function
    found = map_chunks(run, x, dim, size, scale)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected.square().sum(), (x, scale))
    for a, b in zip(torch.autograd.grad(found.square().sum(), (x, scale)), wanted, strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        torch.testing.assert_close(map_chunks(run, x, dim, size, scale), expected)
