"""The published 2023 implementation's reference numbers, ViT-B/16 at full size; skipped where they are not at hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.reference import golden2023
from tests.reference.small import WINDOW

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "golden2023"

pytestmark = [
    pytest.mark.skipif(not FOLDER.is_dir(), reason="reference numbers are not at hand"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module", params=list(golden2023.VARIANTS))
def case(request):
    shapes = golden2023.read_json(FOLDER / f"{request.param}_state_dict_shapes.json")
    return request.param, golden2023.build_model(request.param, shapes, Path("configs"))


@pytest.mark.parametrize("window", [None, WINDOW], ids=["plain", "sliding"])
def test_inference(case, window):
    variant, model = case
    file = FOLDER / f"{variant}{'_sliding' if window else ''}.npz"
    if not file.is_file():
        pytest.skip("no reference of this variant with the sliding window")
    reference = np.load(file)
    found = golden2023.evaluate(model, window)
    worst = golden2023.differences(found, reference)
    assert worst.keys() == golden2023.TOLERANCES.keys() == set(reference) - {"argmax", "margin"}
    assert {n: d for n, d in worst.items() if not d <= golden2023.TOLERANCES[n]} == {}
    assert (golden2023.leads_of_other_labels(found, reference) <= 1e-4).all()


def test_training(case):
    variant, model = case
    reference = np.load(FOLDER / f"{variant}_train.npz")
    norms = golden2023.read_json(FOLDER / f"{variant}_train.grad_norms.json")
    loss, gradients = golden2023.train_step(model)
    assert loss == pytest.approx(reference["loss"].item(), rel=1e-6)
    assert gradients.keys() == norms.keys()
    worst, name = golden2023.worst_norm(gradients, norms)
    assert worst < 1e-3, name
    assert golden2023.largest_without_effect(gradients) < 1e-8
    for key in (key for key in reference if key.startswith("grad.")):
        expected = torch.from_numpy(reference[key])
        found = golden2023.cut_gradient(gradients[key.removeprefix("grad.")])
        assert (found - expected).norm() <= 1e-3 * expected.norm(), key
    # In the last block neither queries nor keys matter: their rows of the packed weight get a gradient of zero.
    packed = gradients["sem_seg_head.predictor.clip_model.visual.transformer.resblocks.11.attn.in_proj_weight"]
    assert not packed[: 2 * 768].any()
