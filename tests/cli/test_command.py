"""The command `physseg`, and the small programs that go by it alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import physseg_start
from physseg.cli import PROGRAMS
from physseg.cli.boundary import run_program
from physseg.config import load_config
from physseg.engine.weights import read_checkpoint
from tests.small_model import CONFIG, OPTS, save_weights

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Another folder, and no models fetched before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHYSSEG_HOME", str(tmp_path / "home"))


@pytest.fixture
def physseg_command(monkeypatch):
    """Run ``physseg WORDS`` within this process."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["physseg", *map(str, words)])
        return physseg_start.command()

    return run


def test_alone_it_lists_the_programs(physseg_command, capsys):
    assert physseg_command() == physseg_command("--help") == 0
    listed = capsys.readouterr().out
    for name, purpose in PROGRAMS.items():
        assert f"{name.replace('_', '-')} " in listed
        assert purpose in listed


@pytest.mark.parametrize(
    ("word", "program"),
    [("toy-scene", "toy_scene"), ("toy_scene", "toy_scene"), ("check", "check_data"), ("export", "export")],
)
def test_dashes_and_short_forms(physseg_command, monkeypatch, word, program):
    monkeypatch.setattr(physseg_start, "start", lambda name: (name, sys.argv))
    assert physseg_command(word, "--x") == (program, [f"physseg {program.replace('_', '-')}", "--x"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("pred1ct", "error: 'pred1ct' is no program of physseg"),
        ("pre", "error: 'pre' may be predict or prepare or pretrain_toy_clip"),
    ],
)
def test_words_that_name_no_program(physseg_command, capsys, word, message):
    assert physseg_command(word) == 2
    assert message in capsys.readouterr().err


def test_as_a_module_it_needs_no_seconds_to_list_them():
    """The list is there without the import of torch."""
    blocked = "import sys; sys.modules['torch'] = None; import physseg_start; sys.argv = ['physseg']; "
    result = subprocess.run(
        [sys.executable, "-c", blocked + "physseg_start.command()"],
        **{"capture_output": True, "text": True, "check": True, "cwd": ROOT},
    )
    assert "segment images, folders and videos" in result.stdout


def test_a_scene_and_its_prediction_by_name_without_a_network(physseg_command, capsys):
    assert physseg_command("toy-scene", "scene.png") == 0
    said = capsys.readouterr().out
    assert "Wrote scene.png. It shows: " in said
    words = said.split("It shows: ")[1].strip()
    assert physseg_command("predict", "scene.png", "--model", "toy", "--vocabulary", words) == 0
    record = json.loads(Path("predictions/scene.json").read_text())
    assert record["names"] == words.split(", ")
    assert max(record["share"].values()) < 0.8
    assert Image.open("predictions/scene_overlay.jpg").height >= 288


def test_the_default_model_without_a_network_is_one_message(physseg_command, capsys, tmp_path):
    physseg_command("toy-scene", "scene.png")
    assert physseg_command("predict", "scene.png", "--vocabulary", "cat, dog") == 1
    error = capsys.readouterr().err
    assert "Cannot fetch https://huggingface.co/spaces/hamacojr/CAT-Seg-weights/resolve/main/model_base.pth" in error
    assert f"{tmp_path}/home/models/catseg-vitb16/model_base.pth" in error
    assert "--model toy comes with physseg" in error
    assert "Traceback" not in error


def test_models(physseg_command, capsys, tmp_path):
    assert physseg_command("models") == 0
    listed = capsys.readouterr().out
    assert "catseg-vitb16 (default)" in listed
    assert "model_base.pth, to be fetched on first use" in listed
    assert "published mIoU: A-847 12.0, PC-459 19.0, A-150 31.8, PC-59 57.5, PAS-20 94.6, PAS-20b 77.3" in listed
    assert str(tmp_path / "home" / "models") in listed


@pytest.fixture
def weights(tmp_path):
    return save_weights(tmp_path / "model_final.pth")


def test_weights_alone_take_the_config_beside_them(physseg_command, weights, capsys):
    physseg_command("toy-scene", "scene.png")
    words = ("predict", "scene.png", "--weights", weights, "--vocabulary", "cat, dog")
    assert physseg_command(*words) == 1
    assert "no config.yaml beside it, as training leaves one; give --config-file" in capsys.readouterr().err
    weights.with_name("config.yaml").write_text(load_config(CONFIG, OPTS).dump())
    assert physseg_command(*words) == 0


def test_model_and_config_are_one_too_many(physseg_command, capsys):
    physseg_command("toy-scene", "scene.png")
    assert physseg_command("predict", "scene.png", "--model", "toy", "--config-file", "toy") == 1
    assert "error: --model toy brings its own config: give either --model or --config-file" in capsys.readouterr().err


def test_lighten(weights, tmp_path, capsys):
    target = tmp_path / "light.safetensors"
    assert run_program("lighten", [str(weights), str(target), "--config-file", "toy"]) == 0
    assert f"tensors to {target}" in capsys.readouterr().out
    whole, light = (read_checkpoint(path)["model"] for path in (weights, target))
    name = "aggregation.embed.weight"
    torch.testing.assert_close(light[name], whole[name], rtol=1e-3, atol=1e-6)
    assert run_program("lighten", [str(weights), "light.pth", "--config-file", "toy"]) == 1
    assert "give it that ending" in capsys.readouterr().err
