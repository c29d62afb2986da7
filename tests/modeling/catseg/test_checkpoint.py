"""Published CAT-Seg weights to physseg's and back."""

import json
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from detectron2.modeling import build_model

from physseg.cli.boundary import run_program
from physseg.config import load_config
from physseg.engine.weights import load_weights, read_checkpoint
from physseg.modeling.catseg.checkpoint import CatsegCheckpointError, back_to_catseg, from_catseg
from physseg.modeling.catseg.shapes import CONFIGS, published_shapes, read_sizes
from tests.reference import golden
from tests.reference.plain_catseg import VIT_B16, VIT_L14, PlainCATSeg, PlainConfig

GOLDEN = Path(__file__).parents[4] / "shared" / "golden" / "vitb16_state_dict_shapes.json"
TINY = PlainConfig(
    *(96, 4, 6, 32, 4, 2, (0, 1)),  # image_size, patch, native_grid, width, layers, heads, levels
    *(16, 16, 2, 2),  # embed, text_width, text_layers, text_heads
    pad_classes=8,  # no parameter's shape depends on it
)
HEAD = "sem_seg_head.predictor.transformer."


@pytest.fixture(scope="module")
def reference():
    """A small model of the published design with its published names."""
    model = PlainCATSeg(TINY).eval()
    model.load_state_dict(golden.fill_state_dict(model.state_dict()))
    return model


@pytest.fixture
def published(reference):
    return dict(reference.state_dict())


def same_bits(first, second):
    # Adding 0 turns -0 into 0: the reference writes -0 in its masks, published files hold 0.
    masks = [name for name in first if name.endswith("attn_mask")]
    first, second = ({n: t + 0.0 if n in masks else t for n, t in d.items()} for d in (first, second))
    return first.keys() == second.keys() and all(
        t.dtype == second[n].dtype
        and t.shape == second[n].shape
        and t.contiguous().numpy().tobytes() == second[n].contiguous().numpy().tobytes()
        for n, t in first.items()
    )


@pytest.mark.parametrize("config", [TINY, VIT_B16, VIT_L14, replace(VIT_B16, templates=80)], ids=str)
def test_shapes_are_those_of_the_published_design(config):
    with torch.device("meta"):
        state_dict = PlainCATSeg(config).state_dict()
    assert published_shapes(read_sizes(state_dict)) == {name: tuple(t.shape) for name, t in state_dict.items()}


@pytest.mark.skipif(not GOLDEN.is_file(), reason="the list of published names is not here")
def test_shapes_are_those_of_the_published_list():
    shapes = {name: tuple(shape) for name, shape in json.loads(GOLDEN.read_text()).items()}
    assert published_shapes(CONFIGS["configs/catseg_vitb16.yaml"]) == shapes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_there_and_back_is_exact(published, dtype):
    published = {name: t.to(dtype) for name, t in published.items()}
    there = from_catseg(published)
    assert not any("attn_mask" in name for name in there.state_dict)
    assert same_bits(back_to_catseg(there.state_dict).state_dict, published)


def test_masks_have_no_negative_zeros(published):
    back = back_to_catseg(from_catseg(published).state_dict).state_dict
    mask = back[f"{HEAD}layers.1.swin_block.block_2.attn_mask"]
    assert mask.shape == (4, 144, 144)
    assert mask.unique().tolist() == [-100.0, 0.0]
    assert not mask[mask == 0].signbit().any()


def tiny_config(tmp_path, *opts):
    """A config whose model has TINY's sizes."""
    vision = {"image_size": 24, "patch_size": 4, "width": 32, "head_width": 16, "layers": 4}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    name = "physseg-test-tiny"
    description = {"embed_dim": 16, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / f"{name}.json").write_text(json.dumps(description))
    open_clip.add_model_config(tmp_path / f"{name}.json")
    keys = {"MODEL.CLIP.NAME": name, "MODEL.CLIP.PRETRAINED": "", "MODEL.CLIP.IMAGE_SIZE": 96, "MODEL.DEVICE": "cpu"}
    keys |= {"MODEL.CLIP.LEVELS": [0, 1], "MODEL.TEXT.VOCABULARY": "pas20", "MODEL.AGGREGATION.MAX_CLASSES": 8}
    return load_config(None, [*(x for pair in keys.items() for x in pair), *opts])


def test_converted_weights_give_the_published_predictions(reference, tmp_path):
    torch.save({"model": reference.state_dict(), "iteration": 7}, tmp_path / "published.pth")
    assert run_program("convert", [str(tmp_path / "published.pth"), str(tmp_path / "ours.pth")]) == 0
    model = build_model(tiny_config(tmp_path)).eval()
    load_weights(model, tmp_path / "ours.pth")
    names = ["cat", "dog", "grass"]
    image = golden.image(70, 90)
    ours = model([{"image": image, "height": 35, "width": 45, "vocabulary": names}])[0]["sem_seg"]
    tokens = open_clip.get_tokenizer("ViT-B-16")([f"A photo of a {name} in the scene" for name in names])
    with torch.no_grad():
        theirs = reference.plain(image, reference.text_features(tokens[:, None]), 35, 45)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_files_there_and_back(published, tmp_path, capsys):
    source, ours, back = (tmp_path / name for name in ("published.pth", "ours.pth", "back.pth"))
    torch.save(published, source)  # bare
    assert run_program("convert", [str(source), str(ours)]) == 0
    assert "no shipped one has them" in capsys.readouterr().out
    assert run_program("convert", ["--to-catseg", str(ours), str(back)]) == 0
    assert same_bits(read_checkpoint(back)["model"], published)
    assert "Not carried over: converted_from" in capsys.readouterr().out


def test_training_state_is_left_behind(published, tmp_path, capsys):
    source, target = tmp_path / "published.pth", tmp_path / "ours.pth"
    torch.save({"model": published, "optimizer": {"state": {}}, "iteration": 9}, source)
    assert run_program("convert", [str(source), str(target)]) == 0
    assert "Not carried over: optimizer, iteration" in capsys.readouterr().out
    assert set(read_checkpoint(target)) == {"model", "converted_from"}


def test_parts_for_training_only_are_left_out(published):
    ours = from_catseg(published).state_dict
    ours["structure_head.predict.weight"] = torch.zeros(1)
    ours["structure_head.predict.bias"] = torch.zeros(1)
    back = back_to_catseg(ours)
    assert same_bits(back.state_dict, published)
    assert "structure_head.predict.* (2)" in back.notes[0]


def test_the_running_average_is_taken(published, tmp_path, capsys):
    ours = from_catseg(published).state_dict
    average = {"decoder.head.bias": torch.tensor([3.5])}
    torch.save({"model": ours, "ema": {"average": average}}, tmp_path / "ours.pth")
    assert run_program("convert", ["--to-catseg", str(tmp_path / "ours.pth"), str(tmp_path / "back.pth")]) == 0
    assert read_checkpoint(tmp_path / "back.pth")["model"][f"{HEAD}head.bias"].item() == 3.5
    assert "running average" in capsys.readouterr().out


def refused(tmp_path, capsys, content, *options):
    torch.save(content, tmp_path / "in.pth")
    assert run_program("convert", [*options, str(tmp_path / "in.pth"), str(tmp_path / "out.pth")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.pth"]
    error = capsys.readouterr().err
    assert "in.pth" in error
    assert "Nothing was written." in error
    return error


def test_keys_that_do_not_fit_are_listed(published, tmp_path, capsys):
    del published["upsample1.bias"]
    for layer in range(2):
        for norm in ("norm1", "norm2"):
            del published[f"{HEAD}layers.{layer}.attention.{norm}.weight"]
    published["backbone.stem.weight"] = torch.zeros(1)
    published[f"{HEAD}head.bias"] = torch.zeros(2)
    error = refused(tmp_path, capsys, published)
    assert "width 32 (no shipped config has that width)" in error
    assert f"missing (5): {HEAD}layers.*.attention.norm1.* (2), {HEAD}layers.*.attention.norm2.* (2)" in error
    assert "unexpected (1): backbone.stem.weight" in error
    assert f"other shape (1):\n    {HEAD}head.bias: (2,), expected (1,)" in error
    assert "CVPR'24 design" in error  # one name of the other design does not make it that


@pytest.mark.parametrize(
    ("plain", "config"), [(VIT_B16, "configs/catseg_vitb16.yaml"), (VIT_L14, "configs/catseg_vitl14.yaml")]
)
def test_the_error_names_the_config_that_would_fit(plain, config):
    with torch.device("meta"):
        state_dict = PlainCATSeg(plain).state_dict()
    # A whole block is missing: the number of blocks cannot be read off the file, but the width tells the CLIP.
    last = f"visual.transformer.resblocks.{plain.layers - 1}."
    state_dict = {name: t for name, t in state_dict.items() if last not in name}
    with pytest.raises(CatsegCheckpointError, match=rf"width {plain.width} \(the width says {config}\)") as error:
        from_catseg(state_dict)
    assert "missing (14)" in str(error.value)


def test_another_mask_is_refused(published):
    published[f"{HEAD}layers.0.swin_block.block_2.attn_mask"] = torch.zeros(4, 144, 144)
    with pytest.raises(CatsegCheckpointError, match=r"attn_mask is not the mask of windows of 12 on a grid of 24"):
        from_catseg(published)


def test_other_contents_are_refused(published, tmp_path, capsys):
    assert "class_embedding" in refused(tmp_path, capsys, {"conv.weight": torch.zeros(1)})
    assert "something else: epoch" in refused(tmp_path, capsys, published | {"epoch": 3})
    ours = from_catseg(published).state_dict
    assert "physseg's weights already" in refused(tmp_path, capsys, ours)
    assert "CAT-Seg's weights already" in refused(tmp_path, capsys, published, "--to-catseg")
    del ours["decoder.head.bias"]
    ours["other.weight"] = torch.zeros(1)
    error = refused(tmp_path, capsys, ours, "--to-catseg")
    assert "missing (1): decoder.head.bias" in error
    assert "unexpected (1): other.weight" in error


def test_missing_and_damaged_files(tmp_path, capsys):
    assert run_program("convert", [str(tmp_path / "none.pth"), str(tmp_path / "out.pth")]) == 1
    assert "none.pth: no such file" in capsys.readouterr().err
    (tmp_path / "bad.pth").write_bytes(b"not a checkpoint")
    assert run_program("convert", [str(tmp_path / "bad.pth"), str(tmp_path / "out.pth")]) == 1
    assert "Cannot read weights" in capsys.readouterr().err
