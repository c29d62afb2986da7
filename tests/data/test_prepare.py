import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from physseg.cli import prepare
from physseg.cli.boundary import run_program

SCRIPTS = sorted((Path(__file__).parents[2] / "datasets").glob("prepare_*.py"))
WITHOUT_TOY = ("prepare_cityscapes",)


@pytest.fixture
def small_a150(monkeypatch, prepared):
    """`prepare` with a spec that expects three images."""
    root, spec = prepared
    monkeypatch.setattr(prepare, "get_specs", lambda keys: (spec,))
    return root, spec


def test_prepares_verifies_and_resumes(small_a150, capsys):
    root, spec = small_a150
    for path in spec.labels_path(root).iterdir():
        path.unlink()
    assert run_program("prepare", ["a150", "--root", str(root), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "A-150: 3 written, 0 there before, 0 failed" in out
    assert "ready" in out
    assert run_program("prepare", ["a150", "--root", str(root)]) == 0
    assert "0 written, 3 there before" in capsys.readouterr().out


def test_failures_are_named_and_the_status_is_1(small_a150, raw, capsys):
    root, spec = small_a150
    (spec.labels_path(root) / "v1.png").unlink()
    raw.save_index(spec.base_path(root) / "annotations/validation/v1.png", np.full((8, 6), 151))
    assert run_program("prepare", ["a150", "--root", str(root), "--workers", "1"]) == 1
    captured = capsys.readouterr()
    assert "1 failed" in captured.out
    assert "v1: ValueError" in captured.err
    assert "missing: v1" in captured.out


def test_missing_raw_data_come_with_steps(tmp_path, capsys):
    assert run_program("prepare", ["a847", "--root", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "missing index of A-847" in error
    assert "register at https://groups.csail.mit.edu" in error


def test_download_without_url_says_what_to_do(tmp_path, capsys):
    assert run_program("prepare", ["a847", "--root", str(tmp_path), "--download"]) == 1
    assert "nothing to download by URL" in capsys.readouterr().err


def test_a_set_without_a_toy_counterpart(tmp_path, capsys):
    assert run_program("prepare", ["cityscapes", "--toy", "--root", str(tmp_path)]) == 1
    assert "Cityscapes-19: there is no toy counterpart; leave out --toy" in capsys.readouterr().err
    # Of several, those that have one.
    assert run_program("prepare", ["pc59", "pc60", "--toy", "--root", str(tmp_path)]) == 1
    assert "make the toy world first" in capsys.readouterr().err


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.stem not in WITHOUT_TOY], ids=lambda path: path.stem)
def test_scripts_say_what_is_missing(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--toy", "--root", str(tmp_path)])
    with pytest.raises(SystemExit, match="1"):
        runpy.run_path(str(script), run_name="__main__")
    assert "make the toy world first" in capsys.readouterr().err
