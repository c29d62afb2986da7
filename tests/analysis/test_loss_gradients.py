import math

import pytest

from physseg.analysis.loss_gradients import markdown_table, mean_gradients, measure_gradients
from physseg.engine.gradients import TermGradients
from tests.engine.test_gradients import Parts


class Model(Parts):
    """The losses of `Parts`, scaled by what is in the batch."""

    def forward(self, batch):
        return {name: batch[0]["scale"] * loss for name, loss in self.losses().items()}


def test_means_over_batches_by_hand():
    model = Model().eval()
    before = [p.clone() for p in model.parameters()]
    means = mean_gradients(measure_gradients(model, [[{"scale": 1.0}], [{"scale": 3.0}]]))
    assert means["loss_sem_seg"] == pytest.approx({"clip": 10, "guidance": 0, "head": 10})
    structure = {"clip": 20, "guidance": 14, "head": 0, "shared": 20, "seg": 10, "ratio": 2, "cosine": -1}
    assert means["loss_structure"] == pytest.approx(structure)
    assert all((a == b).all() for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_a_term_without_gradient():
    norms = {term: dict.fromkeys(("clip", "guidance", "head"), 0.0) for term in ("loss_sem_seg", "loss_structure")}
    found = TermGradients(norms, {"loss_structure": (0.0, 0.0)}, {"loss_structure": {}})
    row = mean_gradients([found])["loss_structure"]
    assert math.isinf(row["ratio"])
    assert math.isnan(row["cosine"])


def test_table():
    means = mean_gradients(measure_gradients(Model(), [[{"scale": 1.0}]]))
    lines = markdown_table(means).splitlines()
    assert lines[2] == "| sem_seg (L_seg) | 5 | 0 | 5 |  |  |  |  |"
    assert lines[3] == "| patch_alignment | 2 | 0 | 0 | 2 | 5 | 0.4 | +0.80 |"
