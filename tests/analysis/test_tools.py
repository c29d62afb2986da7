import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from physseg.cli import oracle as oracle_tool
from physseg.cli.boundary import run_program
from physseg.config import load_config
from physseg.data.specs import TOY
from physseg.modeling.clip.weights import create_clip
from physseg.toy_world.clip import register_toy_clip

CONFIG = "configs/toy.yaml"


def test_similarity_of_the_toy_vocabularies(tmp_path, capsys):
    out = tmp_path / "similarity.json"
    options = ["--output", str(out), "--benchmarks", *TOY, "MODEL.CLIP.PRETRAINED", "", "MODEL.DEVICE", "cpu"]
    assert run_program("similarity", ["--config-file", CONFIG, *options]) == 0
    values = json.loads(out.read_text())
    assert list(values) == [f"toy {title}" for title in ("A-847", "PC-459", "A-150", "PC-59", "PAS-20", "PAS-20b")]
    assert all(-1 <= entry["symmetric"] <= entry["hausdorff"] <= entry["mean"] <= 1 for entry in values.values())
    assert "farthest (nearest)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--benchmarks", "nowhere"], "no data set 'nowhere'"),
        (["--training", "nowhere"], "vocabulary 'nowhere' is neither"),
        (["MODEL.CLIP.PRETRAINED", "gone.pt"], "no file gone.pt"),
        (["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
        (["--names", "a847=pas20"], "--names: expected KEY=VOCABULARY with a KEY of toy_a847"),
        (["--clip", "ViT-Z"], "open_clip has no model 'ViT-Z'"),
        (["--training", "empty.txt"], "vocabulary file empty.txt is empty"),
        (["--benchmarks", "toy_pas20", "--output", "empty.txt/out.json"], "empty.txt is a file, not a folder"),
    ],
)
def test_similarity_bad_input(options, message, tmp_path, monkeypatch, capsys):
    config = str(Path(CONFIG).absolute())
    (tmp_path / "empty.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert run_program("similarity", ["--config-file", config, *options]) == 1
    assert message in capsys.readouterr().err


def test_similarity_of_other_names(tmp_path, capsys):
    (tmp_path / "names.txt").write_text("red plain disc\n")
    own = ["--names", f"toy_pas20={tmp_path / 'names.txt'}", "--training", str(tmp_path / "names.txt")]
    assert run_program("similarity", ["--config-file", CONFIG, *own, "--benchmarks", "toy_pas20"]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[2:4] == ["1", "1.000"]


def test_similarity_to_ones_own_training_data(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    entry = (
        f"name: mine_train\nimages: {tmp_path / 'images'}\nlabels: {tmp_path / 'images'}\nclasses: [red plain disc]\n"
    )
    (tmp_path / "mine.yaml").write_text(entry)
    own = ["DATASETS.CUSTOM", f"['{tmp_path / 'mine.yaml'}']", "DATASETS.TRAIN", "['mine_train']"]
    assert run_program("similarity", ["--config-file", CONFIG, "--benchmarks", "toy_pas20", *own]) == 0
    assert "1 training classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--benchmark", "nowhere"], "no data set 'nowhere'"),
        (["--benchmark", "toy_a150", "--weights", "gone.pth"], "Weights not found: gone.pth"),
        (["--benchmark", "toy_a150", "MODEL.WEIGHTS", "gone.pth"], "Weights not found: gone.pth"),
        (["--benchmark", "toy_a150"], "python datasets/prepare_ade20k_150.py --toy"),
    ],
)
def test_oracle_bad_input(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert run_program("oracle", ["--config-file", CONFIG, *options]) == 1
    assert message in capsys.readouterr().err


def test_crops_are_classified_in_parts_as_at_once(monkeypatch):
    cfg = load_config(CONFIG, ["MODEL.DEVICE", "cpu", "MODEL.CLIP.PRETRAINED", ""])
    torch.manual_seed(0)
    classify = oracle_tool.plain_clip_classifier(
        cfg, [f"{colour} disc" for colour in ("red", "green", "blue", "white")]
    )
    crops = list(np.random.default_rng(0).integers(0, 256, (5, 9, 9, 3), dtype=np.uint8))
    expected = classify(crops)
    monkeypatch.setattr(oracle_tool, "CROPS_AT_ONCE", 2)
    assert classify(crops).tolist() == expected.tolist()


def test_plain_embedding_is_open_clips():
    ours = create_clip("physseg-toy", "").eval()
    register_toy_clip()
    theirs = open_clip.create_model("physseg-toy", load_weights=False).eval()
    state = ours.state_dict()
    # Pack q, k and v again.
    for name in [n for n in state if n.endswith("q_proj_weight")]:
        parts = [state.pop(name.replace("q_proj", f"{letter}_proj")) for letter in "qkv"]
        state[name.replace("q_proj_weight", "in_proj_weight")] = torch.cat(parts)
    theirs.load_state_dict(state)
    side = theirs.visual.image_size[0]
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = theirs.encode_image(images, normalize=True)
        found = oracle_tool.embed_images(ours.visual, images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
