import pytest
import torch

from physseg.modeling.clip.attention import attention


def written_out(query, key, value, mask):
    weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5 + mask).softmax(-1)
    return weights @ value


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["none", "additive", "boolean", "causal"])
def test_value_and_gradient(kind, dtype):
    tensors = [torch.randn(2, 3, 5, 4, dtype=torch.float64).to(dtype).requires_grad_() for _ in range(3)]
    allowed = torch.ones(5, 5, dtype=torch.bool) if kind == "none" else torch.ones(5, 5, dtype=torch.bool).tril()
    additive = torch.zeros(5, 5, dtype=torch.float64).masked_fill(~allowed, -1000.0)
    mask = {"additive": additive.to(dtype)[None, None], "boolean": allowed[None, None]}.get(kind)
    exact = [t.detach().double().requires_grad_() for t in tensors]
    expected = written_out(*exact, additive)
    wanted = torch.autograd.grad(expected.square().sum(), exact)
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = attention(*tensors, mask, causal=kind == "causal")
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
    for ours, theirs in zip(torch.autograd.grad(found.square().sum(), tensors), wanted, strict=True):
        assert (ours - theirs).norm() <= tolerance * theirs.norm()
