"""A run that is killed, interrupted or finds damaged checkpoints, and goes on as if nothing had happened."""

import multiprocessing
import os
import random
import resource
import signal

import pytest
import torch

from physseg.engine.checkpointing import CheckpointWriteError
from physseg.engine.hooks import TrainingInterrupted
from physseg.engine.train_step import NonFiniteLossError
from physseg.engine.weights import read_checkpoint
from physseg.engine.writers import read_metrics
from tests.engine.fake_training import train

_EMA = ("SOLVER.EMA.ENABLED", "True")
_EVAL = ("DATASETS.TEST", "['a']", "TEST.EVAL_PERIOD", "5")


def train_in_child(folder, *opts, resume=False):
    """Train in a process of its own; return its exit code (negative: the signal that ended it)."""
    process = multiprocessing.get_context("fork").Process(target=train, args=(folder, *opts), kwargs={"resume": resume})
    process.start()
    process.join(60)
    return process.exitcode


def assert_same(a, b):
    """Equal to the last bit, through nested containers."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Final checkpoint of a run left alone."""
    folder = tmp_path_factory.mktemp("alone")
    train(folder, *_EMA, *_EVAL)
    return read_checkpoint(folder / "model_final.pth")


@pytest.mark.parametrize("trial", range(4))
def test_kill_at_a_random_iteration_and_resume_gives_the_same_bits(trial, tmp_path, uninterrupted, monkeypatch):
    kill_at = random.Random(os.urandom(4)).randrange(12)
    monkeypatch.setenv("FAKE_KILL_AT", str(kill_at))
    assert train_in_child(tmp_path, *_EMA, *_EVAL) == -signal.SIGKILL
    monkeypatch.delenv("FAKE_KILL_AT")
    train(tmp_path, *_EMA, *_EVAL, resume=True)
    print("killed at iteration", kill_at)
    assert_same(uninterrupted, read_checkpoint(tmp_path / "model_final.pth"))
    assert [line["iteration"] for line in read_metrics(tmp_path / "metrics.json")][-2:] == [11, 12]


def test_kill_while_a_checkpoint_is_written(tmp_path, uninterrupted, monkeypatch):
    save, saves = torch.save, []

    def die_in_the_second(data, file):
        saves.append(0)
        if len(saves) == 2:
            file.write(b"half a checkpoint")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(data, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", die_in_the_second)
        assert train_in_child(tmp_path, *_EMA) == -signal.SIGKILL
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000004.pth"
    assert list(tmp_path.glob(".model_*"))
    train(tmp_path, *_EMA, resume=True)
    assert not list(tmp_path.glob(".model_*"))
    assert_same(uninterrupted, read_checkpoint(tmp_path / "model_final.pth"))


@pytest.mark.parametrize("keep_bytes", [0, 1000, -20])
def test_truncated_newest_checkpoint_gives_way_to_the_one_before(keep_bytes, tmp_path, uninterrupted, caplog):
    caplog.set_level("INFO")
    train(tmp_path, *_EMA)
    newest = tmp_path / "model_final.pth"
    newest.write_bytes(newest.read_bytes()[:keep_bytes])
    train(tmp_path, *_EMA, resume=True)
    assert "damaged, cut short" in caplog.text
    assert "The checkpoint before it is used instead." in caplog.text
    assert "model_0000009.pth" in caplog.text
    assert_same(uninterrupted, read_checkpoint(newest))


def test_no_readable_checkpoint_is_an_error(tmp_path):
    train(tmp_path)
    for path in tmp_path.glob("model_*.pth"):
        path.write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"None of the checkpoints .* can be read"):
        train(tmp_path, resume=True)


def test_newest_two_and_final_are_kept(tmp_path):
    train(tmp_path, "SOLVER.CHECKPOINT_PERIOD", 2)
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == [
        "model_0000007.pth",
        "model_0000009.pth",
        "model_final.pth",
    ]


def test_fresh_start_moves_an_earlier_run_aside(tmp_path, caplog):
    train(tmp_path, "SOLVER.MAX_ITER", 6)
    train(tmp_path, "SOLVER.MAX_ITER", 3)
    assert (tmp_path / "previous-1" / "model_0000004.pth").is_file()
    assert [p.name for p in tmp_path.glob("*.pth")] == ["model_final.pth"]
    assert [line["iteration"] for line in read_metrics(tmp_path / "metrics.json")] == [0, 1, 2]
    assert "holds an earlier training" in caplog.text


def test_ctrl_c_saves_and_resumes(tmp_path, uninterrupted, monkeypatch):
    monkeypatch.setenv("FAKE_INTERRUPT_AT", "6")
    with pytest.raises(TrainingInterrupted, match=r"after iteration 6; .* --resume to continue"):
        train(tmp_path, *_EMA)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000006.pth"
    monkeypatch.delenv("FAKE_INTERRUPT_AT")
    train(tmp_path, *_EMA, resume=True)
    assert_same(uninterrupted, read_checkpoint(tmp_path / "model_final.pth"))


def test_nan_loss_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_NAN_AT", "7")
    with pytest.raises(NonFiniteLossError, match="NaN at iteration 7: loss_sem_seg = nan"):
        train(tmp_path)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000004.pth"
    assert all(torch.isfinite(v).all() for v in read_checkpoint(tmp_path / "model_0000004.pth")["model"].values())


def test_full_disk_stops_clearly_and_keeps_the_old_checkpoint(tmp_path):
    trainer = train(tmp_path, "SOLVER.MAX_ITER", 5)
    before = (tmp_path / "model_final.pth").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CheckpointWriteError, match=r"full\? The checkpoint before, model_final.pth, is intact"):
            trainer.checkpointer.save("model_final", iteration=9)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "model_final.pth").read_bytes() == before
    assert not list(tmp_path.glob(".model_*"))


def test_resume_with_other_number_of_iterations_goes_on(tmp_path):
    train(tmp_path, "SOLVER.MAX_ITER", 5)
    assert train(tmp_path, "SOLVER.MAX_ITER", 8, resume=True).start_iter == 5


def test_best_checkpoint_is_kept_over_a_resume(tmp_path):
    first = train(tmp_path, *_EVAL, "SOLVER.MAX_ITER", 6)
    assert first.best is not None
    second = train(tmp_path, *_EVAL, resume=True)
    assert second.best["value"] >= first.best["value"]
    assert (tmp_path / "model_best.pth").is_file()
