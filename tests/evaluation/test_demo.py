import pytest

from physseg.cli import demo
from physseg.cli.boundary import run_program
from physseg.config import load_config


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


def test_unknown_key(capsys):
    assert run_program("demo", ["SOLVER.MAX_ITERS", "5"]) == 1
    assert "SOLVER.MAX_ITER" in capsys.readouterr().err
