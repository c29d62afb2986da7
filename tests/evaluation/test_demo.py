import multiprocessing

import pytest

from physseg.cli import demo
from physseg.cli.boundary import run_program
from physseg.config import load_config
from physseg.folder_lock import folder_lock


@pytest.fixture
def cfg(tmp_path):
    return load_config(demo.CONFIG, output_dir=tmp_path / "demo")


def test_training_of_the_same_config_is_taken_over(cfg, tmp_path):
    folder = tmp_path / "demo"
    assert demo.reuse_training(cfg, folder) is None
    assert demo.reuse_training(cfg, folder) is None
    (folder / "model_final.pth").touch()
    assert demo.reuse_training(cfg, folder) == folder / "model_final.pth"


def test_training_of_another_config_is_moved_away(cfg, tmp_path, capsys):
    folder = tmp_path / "demo"
    demo.reuse_training(cfg, folder)
    (folder / "model_final.pth").touch()
    cfg.SOLVER.MAX_ITER += 1
    assert demo.reuse_training(cfg, folder) is None
    assert (tmp_path / "demo-previous-1" / "model_final.pth").exists()
    assert not (folder / "model_final.pth").exists()
    assert "demo-previous-1" in capsys.readouterr().out


def test_captions_have_a_config_and_a_folder_of_their_own(monkeypatch):
    configs = []
    monkeypatch.setattr(demo, "demo", configs.append)
    assert demo.main([]) == demo.main(["--captions"]) == demo.main(["--captions", "--output", "elsewhere"]) == 0
    assert [cfg.MODEL.META_ARCHITECTURE for cfg in configs] == ["PhysSeg", "PACL", "PACL"]
    assert [cfg.OUTPUT_DIR for cfg in configs] == ["output/demo", "output/demo_captions", "elsewhere"]


def test_a_second_demo_is_refused_and_moves_nothing(tmp_path, capsys):
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(tmp_path, held, release))
    holder.start()
    assert held.wait(60)
    (tmp_path / "model_final.pth").touch()
    assert run_program("demo", ["--output", str(tmp_path), "MODEL.DEVICE", "cpu"]) == 1
    assert f"{tmp_path} is in use by another run: process {holder.pid}" in capsys.readouterr().err
    assert (tmp_path / "model_final.pth").exists()
    release.set()
    holder.join(60)


def hold(folder, held, release):
    with folder_lock(folder):
        held.set()
        release.wait(60)


def test_the_lock_stays_where_it_is_when_an_earlier_training_moves_away(cfg, tmp_path):
    folder = tmp_path / "demo"
    with folder_lock(folder):
        demo.reuse_training(cfg, folder)
        cfg.SOLVER.MAX_ITER += 1
        demo.reuse_training(cfg, folder)
        assert (folder / ".lock").read_text()
    assert not (tmp_path / "demo-previous-1" / ".lock").exists()


def test_nothing_to_evaluate_on(tmp_path, capsys):
    assert run_program("demo", ["--output", str(tmp_path), "MODEL.DEVICE", "cpu", "DATASETS.TEST", "()"]) == 1
    assert "error: DATASETS.TEST names no data set" in capsys.readouterr().err


def test_unknown_key(capsys):
    assert run_program("demo", ["SOLVER.MAX_ITERS", "5"]) == 1
    assert "SOLVER.MAX_ITER" in capsys.readouterr().err
