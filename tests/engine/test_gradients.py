"""Each term's gradient against derivatives taken by hand."""

import pytest
import torch
from torch import nn

from physseg.engine.gradients import GradientMeter
from physseg.engine.writers import read_metrics
from tests.engine.fake_training import train


class Parts(nn.Module):
    """Two numbers of CLIP, one of the guidance layers, one of the head; one frozen."""

    def __init__(self):
        super().__init__()
        self.clip = nn.Linear(2, 1, bias=False)
        self.guidance = nn.Linear(1, 1, bias=False)
        self.decoder = nn.Linear(1, 1, bias=False)
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def losses(self):
        clip, guidance, head = self.clip.weight[0], self.guidance.weight[0, 0], self.decoder.weight[0, 0]
        return {
            "loss_sem_seg": 3 * clip[0] + 4 * clip[1] + 5 * head,
            "loss_patch_alignment": 2 * clip[1],
            "loss_structure": -6 * clip[0] - 8 * clip[1] + 7 * guidance,
        }


def by_hand(found):
    norms = {term: tuple(parts.values()) for term, parts in found.norms.items()}
    assert norms == {
        "loss_sem_seg": (5, 0, 5),
        "loss_patch_alignment": (2, 0, 0),
        "loss_structure": (10, 7, 0),
    }
    # What L_seg and an addition both reach is CLIP: the guidance has no part in L_seg here, nor the head in the others.
    assert found.shared == {"loss_patch_alignment": (5, 2), "loss_structure": (5, 10)}
    assert found.cosines["loss_patch_alignment"] == pytest.approx({"clip": 0.8, "shared": 0.8})
    assert found.cosines["loss_structure"] == pytest.approx({"clip": -1, "shared": -1})


def test_norms_and_cosines():
    model = Parts()
    meter = GradientMeter(model)
    losses = model.losses()
    meter.add(losses)
    by_hand(meter.measure())
    sum(losses.values()).backward()  # the graph is still there, and the gradients are the losses' own
    assert model.clip.weight.grad.tolist() == [[-3, -2]]


def test_parts_of_a_batch_add_up_and_are_forgotten_afterwards():
    model = Parts()
    meter = GradientMeter(model)
    for _ in range(2):
        for share in (0.25, 0.75):
            meter.add({name: share * loss for name, loss in model.losses().items()}, scale=1024.0)
        by_hand(meter.measure())


def test_scalars_are_named_without_loss():
    model = Parts()
    meter = GradientMeter(model)
    meter.add(model.losses())
    scalars = meter.measure().scalars()
    assert scalars["gradient_norm/structure/guidance"] == 7
    assert scalars["gradient_cosine/patch_alignment/shared"] == pytest.approx(0.8)
    assert not [name for name in scalars if "loss" in name]  # the console shows whatever has "loss" in its name


def test_training_logs_them_and_is_the_same_to_the_bit(tmp_path):
    silent = train(tmp_path / "silent")
    loud = train(tmp_path / "loud", "ENGINE.GRADIENT_PERIOD", "4")
    assert loud.losses == silent.losses
    lines = read_metrics(tmp_path / "loud" / "metrics.json")
    assert [line["iteration"] for line in lines if "gradient_norm/sem_seg/clip" in line] == [0, 4, 8]
    assert all(-1 <= line["gradient_cosine/patch_alignment/shared"] <= 1 for line in lines if line["iteration"] == 4)
    assert not any("gradient_norm/sem_seg/clip" in line for line in read_metrics(tmp_path / "silent" / "metrics.json"))


def test_the_parts_norms_add_up_to_the_steps(tmp_path):
    """The square of a sum is |a|^2 + |b|^2 + 2 |a| |b| cos; the step's norm is logged without any of this."""
    train(tmp_path, "ENGINE.GRADIENT_PERIOD", "1", "SOLVER.MAX_ITER", "2")
    first = read_metrics(tmp_path / "metrics.json")[0]
    square = 0.0
    for part in ("clip", "head"):
        a, b = (first[f"gradient_norm/{term}/{part}"] for term in ("sem_seg", "patch_alignment"))
        square += a * a + b * b + 2 * a * b * first[f"gradient_cosine/patch_alignment/{part}"]
    assert square**0.5 == pytest.approx(first["grad_norm"], rel=1e-5)
