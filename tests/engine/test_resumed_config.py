"""A resumed run says what it does otherwise, and never goes on in silence from nothing."""

import json
import logging

import pytest
import torch

from physseg.engine.checkpointing import read_best
from physseg.engine.resumed_config import warn_of_changes
from physseg.engine.weights import read_checkpoint
from tests.engine.fake_training import fake_config, train


@pytest.fixture
def run(tmp_path):
    """The folder of a finished run with its config."""
    cfg = fake_config(tmp_path)
    (tmp_path / "config.yaml").write_text(cfg.dump())
    return tmp_path


def said(caplog, folder, *opts):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        warn_of_changes(fake_config(folder, *opts))
    return caplog.text


def test_the_same_settings_say_nothing(run, caplog):
    assert said(caplog, run) == ""


def test_other_settings_are_listed(run, caplog):
    text = said(caplog, run, "SOLVER.BASE_LR", "0.5", "TEST.POOLING", "[2, 2]")
    assert "SOLVER.BASE_LR 0.01 -> 0.5" in text
    assert "TEST.POOLING [1, 1] -> [2, 2]" in text
    assert "SEED" not in text


def test_another_seed_is_explained(run, caplog):
    text = said(caplog, run, "SEED", "7")
    assert "SEED 0 -> 7" in text
    assert "are from here on those of SEED 7" in text


@pytest.mark.parametrize("content", ["- a list", "a: [", "\xff", ""])
def test_a_damaged_record_stops_nothing(run, caplog, content):
    (run / "config.yaml").write_bytes(content.encode("latin-1"))
    said(caplog, run)


def test_resume_without_anything(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        train(tmp_path, "SOLVER.MAX_ITER", "1", resume=True)
    assert f"--resume: no checkpoint in {tmp_path}: training starts from the beginning" in caplog.text


@pytest.mark.parametrize("last", [None, "", "../elsewhere.pth", "\x00\xff", "x" * 5000])
def test_checkpoints_that_nothing_names(tmp_path, caplog, last):
    train(tmp_path)
    (tmp_path / "last_checkpoint").unlink()
    if last is not None:
        (tmp_path / "last_checkpoint").write_bytes(last.encode("latin-1"))
    with caplog.at_level(logging.WARNING):
        train(tmp_path, "SOLVER.MAX_ITER", "1", resume=True)
    assert "holds model_0000009.pth, but no file last_checkpoint" in caplog.text
    assert "training starts from the beginning" in caplog.text
    assert (tmp_path / "previous-1" / "model_0000009.pth").is_file()


@pytest.mark.parametrize("part", ["trainer", "iteration", "random_states"])
def test_a_checkpoint_without_a_part(tmp_path, part):
    train(tmp_path)
    checkpoint = read_checkpoint(tmp_path / "model_final.pth")
    del checkpoint[part]
    torch.save(checkpoint, tmp_path / "model_final.pth")
    with pytest.raises(ValueError, match=rf"model_final\.pth holds no {part}: it is no checkpoint of this training"):
        train(tmp_path, "SOLVER.MAX_ITER", "20", resume=True)


@pytest.mark.parametrize("state", [{}, {"optimizer": {"state": {}, "param_groups": []}}, "text", 3])
def test_a_training_state_that_does_not_fit(tmp_path, state):
    train(tmp_path)
    checkpoint = read_checkpoint(tmp_path / "model_final.pth")
    torch.save({**checkpoint, "trainer": state}, tmp_path / "model_final.pth")
    with pytest.raises(ValueError, match=r"model_final\.pth: its trainer state does not fit this config"):
        train(tmp_path, "SOLVER.MAX_ITER", "20", resume=True)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "3",
        '"x"',
        "{}",
        '{"metric": "a", "value": "x", "iteration": 3}',
        '{"value": 1, "iteration": null}',
        "\xff{",
    ],
)
def test_a_record_of_the_best_in_another_shape(tmp_path, caplog, content):
    (tmp_path / "best.json").write_bytes(content.encode("latin-1"))
    assert read_best(tmp_path) is None
    assert "best.json does not say which checkpoint is the best" in caplog.text


def test_a_record_of_the_best(tmp_path):
    assert read_best(tmp_path) is None
    record = {"metric": "mean_mIoU", "value": 31.5, "iteration": 3}
    (tmp_path / "best.json").write_text(json.dumps(record))
    assert read_best(tmp_path) == record
