"""Linear layers with few passes, against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from physseg.modeling.catseg.linear import elu_plus_one, gelu, linear, plus_linear, plus_mlp

DOUBLE = torch.float64


def layers():
    torch.manual_seed(0)
    return nn.LayerNorm(8).double(), nn.Linear(8, 32).double(), nn.Linear(32, 8).double()


@pytest.mark.parametrize("grad", [True, False])
def test_equal_to_the_layers_as_they_are_written(grad):
    norm, fc1, fc2 = layers()
    x = torch.randn(2, 3, 5, 8, dtype=DOUBLE)
    before = x.clone()
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(linear(x, fc1), fc1(x))
        torch.testing.assert_close(plus_linear(x, fc1(x), fc2), x + fc2(fc1(x)))
        torch.testing.assert_close(plus_mlp(x, norm, fc1, gelu, fc2), x + fc2(F.gelu(fc1(norm(x)))))
        torch.testing.assert_close(plus_mlp(x, norm, fc1, F.relu_, fc2), x + fc2(F.relu(fc1(norm(x)))))
        torch.testing.assert_close(elu_plus_one(fc1(x)), F.elu(fc1(x)) + 1)
    assert torch.equal(x, before)


def test_gradients():
    norm, fc1, fc2 = layers()
    parameters = [*norm.parameters(), *fc1.parameters(), *fc2.parameters()]

    def run(x, *values):
        return elu_plus_one(plus_mlp(x, norm, fc1, gelu, fc2))

    x = torch.randn(3, 8, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(run, (x, *parameters))


def test_a_part_of_a_tensor_and_another_order_of_memory():
    _, fc1, fc2 = layers()
    x = torch.randn(5, 9, 8, dtype=DOUBLE).transpose(0, 1)[:, 1:4]
    with torch.no_grad():
        torch.testing.assert_close(plus_linear(x, fc1(x), fc2), x + fc2(fc1(x)))


@pytest.mark.parametrize("grad", [True, False])
def test_autocast(grad):
    norm, fc1, fc2 = (layer.float() for layer in layers())
    x = torch.randn(6, 8)
    with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.bfloat16):
        for residual in (x, x.bfloat16()):
            found = plus_mlp(residual, norm, fc1, gelu, fc2)
            expected = residual + fc2(F.gelu(fc1(norm(residual))))
            assert found.dtype == expected.dtype
            torch.testing.assert_close(found.float(), expected.float(), rtol=0, atol=0.05)
