import pytest
import torch

from physseg.modeling.clip_weights import create_clip
from physseg.modeling.quick_gelu import QuickGELU
from tests.reference.small import small_clip


def test_equals_its_definition_with_and_without_a_gradient():
    x = torch.linspace(-20, 20, 401, dtype=torch.float64, requires_grad=True)
    before = x.detach().clone()
    expected = x * torch.sigmoid(1.702 * x)
    (gradient,) = torch.autograd.grad(expected.sum(), x)
    y = QuickGELU()(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], gradient)
    with torch.no_grad():
        torch.testing.assert_close(QuickGELU()(x), expected)
    assert torch.equal(x.detach(), before)  # the input is not written to


@pytest.mark.parametrize(("name", "quick"), [(small_clip(), True), ("physseg-toy", False)])
def test_stands_where_open_clips_own_stood(name, quick):
    model = create_clip(name, "", load_weights=False)
    blocks = (*model.visual.transformer.resblocks, *model.transformer.resblocks)
    assert {isinstance(block.mlp.gelu, QuickGELU) for block in blocks} == {quick}
