import pytest
import torch
from torch import nn

from physseg.modeling.clip.quick_gelu import QuickGELUMLP
from physseg.modeling.clip.weights import create_clip
from tests.reference.small import small_clip


def test_equals_its_definition_with_and_without_a_gradient():
    first, second = nn.Linear(6, 24).double(), nn.Linear(24, 6).double()
    mlp = QuickGELUMLP(first, second)
    x = (4 * torch.randn(2, 5, 6, dtype=torch.float64)).requires_grad_()
    before = x.detach().clone()
    hidden = first(x)
    expected = second(hidden * torch.sigmoid(1.702 * hidden))
    wanted = (x, *mlp.parameters())
    gradients = torch.autograd.grad(expected.square().sum(), wanted)
    y = mlp(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), wanted), gradients)
    with torch.no_grad():
        torch.testing.assert_close(mlp(x), expected)
    assert torch.equal(x.detach(), before)  # the input is not written to


@pytest.mark.parametrize(("name", "quick"), [(small_clip(), True), ("physseg-toy", False)])
def test_stands_where_open_clips_own_stood(name, quick):
    model = create_clip(name, "", load_weights=False)
    blocks = (*model.visual.transformer.resblocks, *model.transformer.resblocks)
    assert {isinstance(block.mlp, QuickGELUMLP) for block in blocks} == {quick}
