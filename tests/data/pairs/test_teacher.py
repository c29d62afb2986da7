"""Views of a teacher and the cache of their features."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from physseg.cli import teacher_features as command
from physseg.cli.boundary import run_program
from physseg.config import load_config
from physseg.data.images import BrokenFileError
from physseg.data.pairs import teacher_cache
from physseg.data.pairs.loading import build_pair_mapper, training_records
from physseg.data.pairs.teacher_cache import TeacherFeatures, plan_cache
from physseg.data.pairs.views import count_views, grid_views
from physseg.modeling.without_masks.zeroseg import ZeroSeg

SETTINGS, SHAPE = {"teacher": "a", "grids": [1, 2]}, (5, 3)
CONFIG = "configs/without_masks/zeroseg_toy.yaml"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(teacher_cache, "BLOCK", 2)


def rows(count, start=0):
    return [np.full(SHAPE, start + i, np.float32) for i in range(count)]


def test_views_are_cells_of_the_middle_square():
    image = np.zeros((4, 8, 3), np.uint8)
    image[:2, 2:4], image[:2, 4:6], image[2:, 2:4], image[2:, 4:6] = 10, 20, 30, 40
    views = grid_views(image, (1, 2), 2)
    assert views.shape == (5, 3, 2, 2)
    assert [view[0].tolist() for view in views[1:]] == [[[v, v], [v, v]] for v in (10, 20, 30, 40)]
    # The whole square at a quarter of its pixels: the cells' order, and each near its cell.
    assert (np.diff(views[0, 0].ravel().astype(int)) > 0).all()
    assert np.abs(views[0, 0].astype(int) - [[10, 20], [30, 40]]).max() < 5
    assert count_views((1, 2, 3, 4)) == 30


def test_what_is_written_is_read(tmp_path):
    plan = plan_cache(tmp_path / "cache", ["x", "y", "z"], SETTINGS, SHAPE)
    assert (plan.missing, plan.bytes) == ([0, 1], 2 * 5 * 3 * 3)
    assert list(plan.write(rows(3))) == [1, 2, 3]
    features = TeacherFeatures(tmp_path / "cache", SETTINGS, SHAPE)
    assert [features[name][0, 0] for name in "xyz"] == [0, 1, 2]
    assert features["z"].dtype == np.float16
    with pytest.raises(KeyError, match="has no features of w"):
        features["w"]


def test_an_interrupted_cache_goes_on(tmp_path):
    plan = plan_cache(tmp_path, ["x", "y", "z"], SETTINGS, SHAPE)

    def broken():
        yield from rows(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(plan.write(broken()))
    with pytest.raises(FileNotFoundError, match=r"1 of 2 blocks are missing .* goes on where it stopped"):
        TeacherFeatures(tmp_path, SETTINGS, SHAPE)
    rest = plan_cache(tmp_path, ["x", "y", "z"], SETTINGS, SHAPE)
    assert rest.missing == [1]
    list(rest.write(rows(1, start=7)))
    features = TeacherFeatures(tmp_path, SETTINGS, SHAPE)
    assert [features[name][0, 0] for name in "xyz"] == [0, 1, 7]


def test_another_cache_is_named(tmp_path):
    list(plan_cache(tmp_path, ["x"], SETTINGS, SHAPE).write(rows(1)))
    with pytest.raises(ValueError, match=r"were made with grids \[1, 2\]; expected grids \[1, 3\]"):
        TeacherFeatures(tmp_path, SETTINGS | {"grids": [1, 3]}, SHAPE)
    with pytest.raises(ValueError, match="images 1; ids_sha256"):
        plan_cache(tmp_path, ["x", "y"], SETTINGS, SHAPE)
    with pytest.raises(FileNotFoundError, match=r"no cache in .*make_teacher_features\.py"):
        TeacherFeatures(tmp_path / "none", SETTINGS, SHAPE)
    (tmp_path / "features.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        TeacherFeatures(tmp_path, SETTINGS, SHAPE)


def test_a_full_disk_is_told_before(tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(OSError, match=r"GB are needed, 0\.0 GB are free"):
        plan_cache(tmp_path / "a" / "b", ["x"], SETTINGS, SHAPE).check_space()


def test_an_image_that_could_not_be_read(tmp_path):
    list(plan_cache(tmp_path, ["x"], SETTINGS, SHAPE).write([np.full(SHAPE, np.nan)]))
    with pytest.raises(BrokenFileError, match="x could not be read when the features"):
        TeacherFeatures(tmp_path, SETTINGS, SHAPE)["x"]


@pytest.fixture
def pictures(tmp_path):
    """Three pictures, and the overrides that train on them."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (100, 120, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{i}.png")
    pairs = [{"name": "mine", "images": str(tmp_path / "images")}]
    return ["DATASETS.PAIRS", pairs, "DATASETS.TRAIN", ["mine"], "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0]


def samples(opts):
    cfg = load_config(CONFIG, opts)
    mapper = build_pair_mapper(cfg)
    return cfg, [mapper(record) for record in training_records(cfg)]


def test_cached_and_fresh_features_are_the_same(tmp_path, pictures, capsys):
    folder = str(tmp_path / "features")
    words = [word if isinstance(word, str) else json.dumps(word) for word in pictures]
    assert run_program("teacher_features", ["--config-file", CONFIG, "--output", folder, "--dry-run", *words]) == 0
    assert "3 images x 30 views x 128 numbers of 2 bytes: 2.3e-05 GB" in capsys.readouterr().out
    assert command.main(["--config-file", CONFIG, "--output", folder, *words]) == 0
    cfg, cached = samples([*pictures, "MODEL.ZEROSEG.TEACHER.FEATURES", folder])
    _, fresh = samples([*pictures, "MODEL.ZEROSEG.TEACHER.FEATURES", ""])
    model = ZeroSeg(cfg)
    assert "teacher" not in fresh[0]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(cached, fresh, strict=True))
    there, here = model._teacher(cached), model._teacher(fresh)
    assert torch.allclose(here.norm(dim=-1), torch.ones(3, 30))
    assert torch.equal(there, here.half().float())


def test_tars_have_no_cache(tmp_path, capsys):
    opts = ["DATASETS.PAIRS", json.dumps([{"name": "mine", "tars": "a.tar"}]), "DATASETS.TRAIN", '["mine"]']
    assert run_program("teacher_features", ["--config-file", CONFIG, "--output", str(tmp_path / "f"), *opts]) == 1
    assert "features are made of images in a folder; unpack the tars" in capsys.readouterr().err


def test_another_model_has_no_teacher(tmp_path, capsys):
    config = "configs/without_masks/segclip_toy.yaml"
    assert run_program("teacher_features", ["--config-file", config, "--output", str(tmp_path / "f")]) == 1
    assert "MODEL.META_ARCHITECTURE is SegCLIP; expected ZeroSeg" in capsys.readouterr().err
