"""The published implementation's reference numbers, ViT-B/16 at full size; skipped where they are not at hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from physseg import PhysSeg, load_config
from physseg.modeling.catseg.names import to_catseg, to_physseg
from tests.reference import golden
from tests.reference.small import WINDOW

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "golden"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="reference numbers are not at hand")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    words = tmp_path_factory.mktemp("golden") / "voc20.txt"
    words.write_text("\n".join(golden.VOC20))
    opts = ["MODEL.CLIP.PRETRAINED", "", "MODEL.TEXT.VOCABULARY", str(words), "MODEL.DEVICE", "cpu"]
    model = PhysSeg(load_config("configs/catseg_vitb16.yaml", [*opts, "TEST.SLIDING_WINDOW", False]))
    shapes = json.loads((FOLDER / "vitb16_state_dict_shapes.json").read_text())
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith("attn_mask")}
    own, unknown = to_catseg(model.state_dict())
    assert not unknown
    assert {name: list(value.shape) for name, value in own.items()} == shapes
    model.load_state_dict(to_physseg(golden.fill_state_dict(own))[0])
    return model


@pytest.mark.parametrize("window", [None, WINDOW])
@torch.no_grad()
def test_inference(model, window):
    expected = np.load(FOLDER / ("vitb16_voc20_sliding.npz" if window else "vitb16_voc20.npz"))
    model.eval()
    model.window = window
    text = model.text_features(model.vocabulary)
    assert np.abs(text.numpy() - expected["text_feats"].reshape(text.shape)).max() < 1e-4
    x = {"image": golden.image(480, 640), "height": 480, "width": 640}
    if window is None:
        images = model._training_images([x])
        dense = model.clip(images).dense[:, :, ::6, ::6]
        assert np.abs(dense.numpy() - expected["img_feats"]).max() < 1e-4
        logits = model._logits(images, images, text).dense()[..., ::4, ::4]
        assert np.abs(logits.numpy() - expected["logits"]).max() < 1e-4
    found = model([x])[0]["sem_seg"]
    assert np.abs(found[:, ::8, ::8].numpy() - expected["sem_seg"]).max() < 1e-4
    same = found.argmax(0)[::2, ::2].numpy() == expected["argmax"]
    # But for ties: a pixel may differ where two classes are equally likely.
    first, second = found.topk(2, dim=0).values
    assert (same | ((first - second)[::2, ::2].numpy() < 2e-4)).all()
    model.window = None


def test_training(model):
    expected = np.load(FOLDER / "vitb16_voc20_train.npz")
    norms = json.loads((FOLDER / "vitb16_voc20_train.grad_norms.json").read_text())
    model.train()
    model.zero_grad()
    loss = model([{"image": golden.image(384, 384), "sem_seg": golden.labels()[0]}])["loss_sem_seg"]
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"].item(), rel=1e-5)
    found, _ = to_catseg({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    assert found.keys() == norms.keys()
    for name, norm in norms.items():
        # A key's bias has no influence on a softmax: its gradient is zero but for rounding.
        assert found[name].norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-5), name
