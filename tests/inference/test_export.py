"""ONNX export: the exported file computes what the model computes, for vocabularies of any length."""

import json
import sys

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_model

from physseg.config import load_config
from physseg.inference.export import SquareSegmenter, export_onnx
from tests.small_model import CONFIG, OPTS


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """As small as a model can be: three image blocks and one aggregation layer."""
    vision = {"image_size": 32, "patch_size": 8, "width": 16, "head_width": 8, "layers": 3}
    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    path = tmp_path_factory.mktemp("clip") / "physseg-test-export.json"
    path.write_text(json.dumps({"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(path)
    small = ("MODEL.CLIP.NAME", path.stem, "MODEL.CLIP.IMAGE_SIZE", 32, "MODEL.AGGREGATION.WINDOW", 2)
    opts = (*OPTS, *small, "MODEL.AGGREGATION.LAYERS", 1, "MODEL.AGGREGATION.MAX_CLASSES", 8)
    torch.manual_seed(0)
    return build_model(load_config(CONFIG, (*opts, "MODEL.TEXT.VOCABULARY", "pas20"))).eval()


def test_the_exported_function_is_plain_inference(model):
    names = ["cat", "dog", "grass"]
    image = (torch.rand(3, 32, 32) * 255).round()
    # At the logits' size nothing is resized after the sigmoid.
    expected = model([{"image": image, "height": 16, "width": 16, "vocabulary": names}])[0]["sem_seg"]
    with torch.no_grad():
        result = SquareSegmenter(model)(image[None], model.text_features(names))
    torch.testing.assert_close(result[0], expected, rtol=0, atol=1e-5)


def test_onnx_takes_other_vocabularies(model, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export_onnx(model, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 2, 5, 8):
        image = torch.rand(1, 3, 32, 32) * 255
        text = F.normalize(torch.randn(count, 1, 8), dim=-1)
        (result,) = session.run(["probabilities"], {"image": image.numpy(), "text": text.numpy()})
        with torch.no_grad():
            expected = SquareSegmenter(model)(image, text).numpy()
        assert result.shape == (1, count, 16, 16)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5)


def test_errors(model, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    model.train()
    with pytest.raises(ValueError, match=r"on the CPU and in evaluation mode: model.cpu\(\).eval\(\)"):
        export_onnx(model, tmp_path / "model.onnx")
    model.eval()
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"ONNX export needs onnxscript: pip install"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
