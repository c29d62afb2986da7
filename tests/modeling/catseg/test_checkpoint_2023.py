"""Published CAT-Seg weights of the 2023 design to physseg's and back: a small CLIP, the real backbones."""

import json

import open_clip
import pytest
import torch
from detectron2.modeling import build_model

from physseg.cli.boundary import run_program
from physseg.config import load_config
from physseg.engine.weights import load_weights, read_checkpoint
from physseg.modeling.catseg.checkpoint import CatsegCheckpointError, back_to_catseg, from_catseg
from physseg.modeling.catseg.names import is_computed, to_catseg
from tests.reference import golden, golden2023

CLIP = "physseg-test-tiny-2023"
RESNET = ("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.DEPTH", 101, "MODEL.BACKBONE.FREEZE_AT", 0)
RESNET += ("MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4"], "MODEL.RESNETS.STRIDE_IN_1X1", False)
BACKBONES = {"swin": (), "resnet": RESNET}


@pytest.fixture(scope="module", params=list(BACKBONES))
def case(request, tmp_path_factory):
    """(config, published weights): a grid of 24 of a CLIP of width 32, under two templates."""
    folder = tmp_path_factory.mktemp("tiny")
    vision = {"image_size": 24, "patch_size": 4, "width": 32, "head_width": 16, "layers": 4}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    description = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    (folder / f"{CLIP}.json").write_text(json.dumps(description))
    open_clip.add_model_config(folder / f"{CLIP}.json")
    keys = {"MODEL.CLIP.NAME": CLIP, "MODEL.CLIP.PRETRAINED": "", "MODEL.CLIP.IMAGE_SIZE": 96, "MODEL.DEVICE": "cpu"}
    keys |= {"MODEL.CLIP.LEVELS": [0, 1], "MODEL.TEXT.VOCABULARY": "pas20", "MODEL.SWIN.PRETRAINED": ""}
    keys |= {"MODEL.TEXT.TEMPLATES": ["a {}", "the {}"], "TEST.SLIDING_WINDOW": False}
    opts = [*(x for pair in keys.items() for x in pair), *BACKBONES[request.param]]
    cfg = load_config("configs/catseg_2023_vitl14_swinb.yaml", opts)
    shapes = back_to_catseg(build_model(cfg).state_dict()).state_dict
    return cfg, {name: golden2023.fill(name, value) for name, value in shapes.items()}


def same_bits(first, second):
    return first.keys() == second.keys() and all(
        t.dtype == second[n].dtype and t.contiguous().numpy().tobytes() == second[n].contiguous().numpy().tobytes()
        for n, t in first.items()
    )


def test_converted_loaded_predicted_and_converted_back(case, tmp_path, capsys):
    cfg, published = case
    source, ours, back = (tmp_path / name for name in ("published.pth", "ours.pth", "back.pth"))
    torch.save({"model": published, "iteration": 7}, source)
    assert run_program("convert", [str(source), str(ours)]) == 0
    assert "of CAT-Seg's 2023 design" in capsys.readouterr().out
    model = build_model(cfg).eval()
    load_weights(model, ours)
    # What was loaded is what was published, tensor by tensor and under the published names.
    loaded, unknown = to_catseg(model.state_dict(), packed=True)
    assert not unknown
    assert same_bits(loaded, {name: value for name, value in published.items() if not is_computed(name)})
    image = golden.image(70, 90)
    (answer,) = model([{"image": image, "height": 35, "width": 45, "vocabulary": ["cat", "dog", "wall, brick wall"]}])
    assert answer["sem_seg"].shape == (3, 35, 45)
    assert answer["sem_seg"].std(dim=0).max() > 1e-3
    assert run_program("convert", ["--to-catseg", str(ours), str(back)]) == 0
    assert same_bits(read_checkpoint(back)["model"], published)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_there_and_back_is_exact(case, dtype):
    published = {n: t.to(dtype) if t.is_floating_point() else t for n, t in case[1].items()}
    there = from_catseg(published)
    assert there.design == "2023"
    assert same_bits(back_to_catseg(there.state_dict).state_dict, published)


def test_computed_buffers_may_be_missing_but_not_be_others(case):
    published = dict(case[1])
    computed = [name for name in published if is_computed(name)]
    assert len(computed) in (2, 24)  # two masks; with Swin 22 position indices
    without = from_catseg({name: value for name, value in published.items() if name not in computed})
    assert same_bits(without.state_dict, from_catseg(published).state_dict)
    published[computed[0]] = torch.zeros_like(published[computed[0]])
    with pytest.raises(CatsegCheckpointError, match=r"is not the (mask|position index) of windows of 12"):
        from_catseg(published)


def test_what_does_not_fit_is_listed(case):
    published = dict(case[1])
    name = next(name for name in published if name.startswith("backbone.") and name.endswith("norm.weight"))
    del published[name]
    published["upsample1.bias"] = torch.zeros(256)
    with pytest.raises(CatsegCheckpointError) as error:
        from_catseg(published)
    assert "CAT-Seg's 2023 design" in str(error.value)
    assert f"missing (1): {name}" in str(error.value)
    assert "unexpected (1): upsample1.bias" in str(error.value)
