"""Two trainings into one OUTPUT_DIR: the second is refused, and the first does not notice."""

import signal

import pytest

from physseg.folder_lock import FolderInUseError, folder_lock
from tests.engine.fake_training import FakeTrainer, fake_config
from tests.engine.processes import Training


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 1), (1, 2), (None, 1), (1, None)])
def test_two_command_lines(first, second, tmp_path, capfd):
    running = Training(tmp_path, first)
    running.wait_for("trains")
    before = (tmp_path / "config.yaml").read_bytes()
    refused = Training(tmp_path, second, "SOLVER.BASE_LR", "0.5")
    assert refused.status() == 1
    assert not refused.left()
    holder = running.process.pid if first == 1 else running.rank(0)
    (said,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert f"{tmp_path} is in use by another run: process {holder} on " in said
    assert (tmp_path / "config.yaml").read_bytes() == before
    running.send(signal.SIGTERM, "group")
    assert running.status() == (1 if first is None else 143)
    assert (tmp_path / "last_checkpoint").is_file()


def test_a_trainer_from_python(tmp_path):
    running = Training(tmp_path, 1)
    running.wait_for("trains")
    trainer = FakeTrainer(fake_config(tmp_path))
    with pytest.raises(FolderInUseError, match=f"process {running.process.pid} "):
        trainer.resume_or_load(resume=False)
    with pytest.raises(FolderInUseError, match=f"process {running.process.pid} "):
        trainer.train()
    running.send(signal.SIGTERM, "group")
    assert running.status() == 143


def test_a_training_holds_the_folder_of_its_process(tmp_path):
    with folder_lock(tmp_path):
        trainer = FakeTrainer(fake_config(tmp_path))
        trainer.resume_or_load(resume=False)
        trainer.train()
    assert (tmp_path / "model_final.pth").is_file()
