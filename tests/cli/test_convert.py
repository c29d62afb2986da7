"""What convert does with its two paths; the weights themselves: tests/modeling/catseg/test_checkpoint.py."""

import pytest
import safetensors
import torch

from physseg.cli import convert
from physseg.cli.boundary import run_program
from physseg.engine.weights import read_checkpoint
from physseg.modeling.catseg.checkpoint import Conversion


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A checkpoint that converts to itself."""
    monkeypatch.setattr(convert, "from_catseg", lambda weights: Conversion(weights, "test", None, []))
    path = tmp_path / "model.pth"
    torch.save({"model": {"a": torch.ones(2)}, "iteration": 3}, path)
    return path


def test_an_existing_target_is_kept(source, tmp_path, capsys):
    target = tmp_path / "there.pth"
    target.write_bytes(b"mine")
    assert run_program("convert", [str(source), str(target)]) == 1
    assert f"error: {target} is there already; nothing was written" in capsys.readouterr().err
    assert target.read_bytes() == b"mine"
    assert run_program("convert", [str(source), str(target), "--overwrite"]) == 0
    assert read_checkpoint(target)["model"]["a"].tolist() == [1, 1]


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", ["model.pth", "link.pth", "hard.pth"])
def test_source_and_target_are_one_file(source, tmp_path, capsys, name, options):
    (tmp_path / "link.pth").symlink_to(source)
    (tmp_path / "hard.pth").hardlink_to(source)
    before = source.read_bytes()
    assert run_program("convert", [str(source), str(tmp_path / name), *options]) == 1
    assert "is the file to read itself" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_safetensors_are_safetensors(source, tmp_path):
    target = tmp_path / "out.safetensors"
    assert run_program("convert", [str(source), str(target)]) == 0
    with safetensors.safe_open(target, framework="pt") as file:
        assert list(file.keys()) == ["a"]
        assert file.metadata()["file"] == "model.pth"
    assert read_checkpoint(target)["model"]["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("out.npz", "the name must end in one of .pth, .pt, .bin, .safetensors"),
        ("out", "the name must end in one of"),
        ("model.pth/below.pth", "model.pth is a file, not a folder"),
        ("folder.pth", "is there already"),
    ],
)
def test_targets_that_cannot_be(source, tmp_path, capsys, target, message):
    (tmp_path / "folder.pth").mkdir()
    assert run_program("convert", [str(source), str(tmp_path / target)]) == 1
    assert message in capsys.readouterr().err
