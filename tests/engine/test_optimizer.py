import math

import pytest
import torch
from torch import nn

from physseg.engine.optimizer import clip_gradients, param_groups


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.clip = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        self.clip[0].bias.requires_grad_(False)
        self.head = nn.Sequential(nn.Conv2d(2, 2, 1), nn.GroupNorm(1, 2))
        self.tied = self.head[0]
        self.relative_position_bias_table = nn.Parameter(torch.zeros(3))


def groups(model, **changes):
    options = {"base_lr": 2e-4, "clip_multiplier": 0.01, "weight_decay": 1e-4, "weight_decay_norm": 0.0} | changes
    return {group["name"]: group for group in param_groups(model, **options)}


def test_groups_by_hand():
    model = Model()
    found = groups(model)
    expected = {
        "head": ([model.head[0].weight, model.head[0].bias], 2e-4, 1e-4),
        "head_no_decay": ([model.relative_position_bias_table, model.head[1].weight, model.head[1].bias], 2e-4, 0.0),
        "clip": ([model.clip[0].weight], 2e-6, 1e-4),
        "clip_no_decay": ([model.clip[1].weight, model.clip[1].bias], 2e-6, 0.0),
    }
    assert found.keys() == expected.keys()
    for name, (parameters, lr, decay) in expected.items():
        assert {id(p) for p in found[name]["params"]} == {id(p) for p in parameters}
        assert found[name]["lr"] == pytest.approx(lr)
        assert found[name]["weight_decay"] == decay


def test_model_says_what_belongs_to_clip():
    model = Model()
    model.param_group_of = lambda name: "clip" if name.startswith("head") else "head"
    assert {id(p) for p in groups(model)["clip"]["params"]} == {id(p) for p in model.head[0].parameters()}


def test_nothing_trainable():
    with pytest.raises(ValueError, match=r"no trainable parameter; check MODEL.CLIP.FINETUNE"):
        groups(Model().requires_grad_(False))


def with_gradients():
    a, b, c = (nn.Parameter(torch.zeros(1)) for _ in range(3))
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([-4.0])
    return a, b, c


def test_full_model_clipping_by_hand():
    a, b, c = with_gradients()
    assert clip_gradients([a, b, c], "full_model", 0.01).item() == pytest.approx(5.0)
    # Both shrink by 0.01 / 5.
    assert a.grad.item() == pytest.approx(0.006, rel=1e-5)
    assert b.grad.item() == pytest.approx(-0.008, rel=1e-5)
    assert c.grad is None


@pytest.mark.parametrize(
    ("clip_type", "expected"), [(None, (3.0, -4.0)), ("norm", (3.0, -3.5)), ("value", (3.0, -3.5))]
)
def test_detectron2_types_by_hand(clip_type, expected):
    a, b, c = with_gradients()
    assert clip_gradients([a, b, c], clip_type, 3.5).item() == pytest.approx(5.0)
    assert (a.grad.item(), b.grad.item()) == pytest.approx(expected, rel=1e-5)


def test_infinite_gradient_is_reported():
    a, b, _ = with_gradients()
    a.grad.fill_(math.inf)
    assert not torch.isfinite(clip_gradients([a, b], "full_model", 0.01))


def test_unknown_clip_type():
    with pytest.raises(ValueError, match=r"CLIP_TYPE must be .* got 'fullmodel'"):
        clip_gradients([], "fullmodel", 1.0)
