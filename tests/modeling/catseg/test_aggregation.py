"""Aggregation: class attention's padding as a constant, shift masks, and errors."""

import pytest
import torch
import torch.nn.functional as F

from physseg.modeling.catseg.aggregation import ClassAggregation, CostAggregation

DIM, GUIDANCE, HEADS, GRID = 8, 6, 2, 4


def attend(module: ClassAggregation, x: torch.Tensor, guidance: torch.Tensor, padding: int) -> torch.Tensor:
    """As published, at one position: tokens (T, C) and guidance (T, G), padded; heads apart; all written out."""
    count = len(x)
    x = torch.cat([x, module.padding_token.expand(padding, -1)])
    guidance = torch.cat([guidance, module.padding_guidance.expand(padding, -1)])
    both = torch.cat([module.norm1(x), guidance], dim=-1)
    q, k, v = F.elu(module.q(both)) + 1, F.elu(module.k(both)) + 1, module.v(module.norm1(x))
    outputs = []
    for a, b, c in zip(q.chunk(HEADS, 1), k.chunk(HEADS, 1), v.chunk(HEADS, 1), strict=True):
        weights = a @ b.T
        outputs.append(weights @ c / (weights.sum(1, keepdim=True) + 1e-6))
    x = x + torch.cat(outputs, dim=1)
    return (x + module.fc2(F.relu(module.fc1(module.norm2(x)))))[:count]


@pytest.fixture
def module():
    module = ClassAggregation(DIM, GUIDANCE, HEADS, max_classes=9).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize(("classes", "padding"), [(3, 6), (9, 0), (11, 0)])
@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_padding_is_a_constant(module, classes, padding, chunk):
    x = torch.randn(2, classes, GRID * GRID, DIM, dtype=torch.float64)
    guidance = torch.randn(1, classes, GUIDANCE, dtype=torch.float64)
    found = module(x, guidance, GRID, (1, 1), chunk)
    for image in range(2):
        for position in range(GRID * GRID):
            token = x[image, :, position]
            # The layer's input is added again: the stream has a residual of its own.
            expected = token + attend(module, token, guidance[0], padding)
            torch.testing.assert_close(found[image, :, position], expected)


def test_pooled_stream_is_resized_and_added(module):
    x = torch.randn(1, 3, GRID * GRID, DIM, dtype=torch.float64)
    guidance = torch.randn(1, 3, GUIDANCE, dtype=torch.float64)
    found = module(x, guidance, GRID, (2, 2), 100)
    pooled = F.avg_pool2d(x[0].transpose(1, 2).reshape(3, DIM, GRID, GRID), 2)
    stream = torch.stack([attend(module, p.T.contiguous(), guidance[0], 6) for p in pooled.flatten(2).permute(2, 1, 0)])
    image = stream.permute(1, 2, 0).reshape(3, DIM, 2, 2)
    resized = F.interpolate(image, size=(GRID, GRID), mode="bilinear", align_corners=True)
    torch.testing.assert_close(found[0], x[0] + resized.flatten(2).transpose(1, 2))


def test_padding_trains(module):
    x = torch.randn(1, 3, GRID * GRID, DIM, dtype=torch.float64)
    module(x, torch.randn(1, 3, GUIDANCE, dtype=torch.float64), GRID, (1, 1), 4).sum().backward()
    assert module.padding_token.grad.abs().sum() > 0
    assert module.padding_guidance.grad.abs().sum() > 0


def test_window_that_does_not_divide_the_grid():
    with pytest.raises(ValueError, match=r"MODEL.AGGREGATION.WINDOW: expected a divisor of the token grid 24 .*got 7"):
        CostAggregation(1, 8, 8, 24, window=7)


def test_recomputing_keeps_less_and_changes_no_gradient():
    shape = {"guidance_dim": GUIDANCE, "dim": DIM, "heads": HEADS, "window": 2, "max_classes": 9}
    modules = [CostAggregation(1, 5, 7, GRID, **shape, recompute=recompute).double() for recompute in (False, True)]
    modules[1].load_state_dict(modules[0].state_dict())
    cost, image = torch.randn(2, 3, 1, GRID, GRID).double(), torch.randn(2, 5, GRID, GRID).double()
    text = torch.randn(1, 3, 1, 7).double()
    gradients, kept = [], []
    for module in modules:
        leaves = [t.clone().requires_grad_() for t in (cost, image, text)]
        saved = []
        # Sees what autograd keeps, but for what is recomputed.
        with torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: (saved.append(t.numel()), t)[1], _same):
            loss = module(*leaves, (2, 2), 2, 8).square().sum()
        gradients.append(torch.autograd.grad(loss, [*leaves, *module.parameters()]))
        kept.append(sum(saved))
    torch.testing.assert_close(gradients[1], gradients[0])
    assert kept[1] < kept[0] / 2


def _same(tensor):
    return tensor
