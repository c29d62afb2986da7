"""Configs by name, from any folder, with and without the source tree."""

import shutil
from pathlib import Path

import pytest

from physseg import shipped_configs
from physseg.config import load_config
from physseg.shipped_configs import config_folder, shipped_config, shipped_config_names, where_configs_are

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["catseg_vitb16", "catseg_vitb16.yaml", "configs/catseg_vitb16.yaml"])
def test_by_name_from_another_folder(name):
    assert shipped_config(name) == ROOT / "configs" / "catseg_vitb16.yaml"
    assert load_config(name).MODEL.CLIP.NAME == "ViT-B-16-quickgelu"


def test_a_sweep_by_name():
    assert shipped_config("toy_table3", "sweeps") == ROOT / "configs" / "sweeps" / "toy_table3.yaml"
    assert shipped_config("configs/sweeps/toy_table3.yaml") == ROOT / "configs" / "sweeps" / "toy_table3.yaml"
    assert "toy_table3" in shipped_config_names("sweeps")


def test_a_file_of_ones_own_wins():
    Path("toy.yaml").write_text("SEED: 7\n")
    assert load_config("toy.yaml").SEED == 7


def test_a_config_of_ones_own_can_be_based_on_a_shipped_one():
    Path("mine.yaml").write_text("_BASE_: catseg_vitb16.yaml\nSEED: 7\n")
    cfg = load_config("mine.yaml")
    assert (cfg.SEED, cfg.MODEL.CLIP.IMAGE_SIZE) == (7, 384)


@pytest.mark.parametrize("name", ["", "/catseg_vitb16.yaml", "../configs/toy", "toy\0", "x" * 5000])
def test_other_paths_are_no_names(name):
    assert shipped_config(name) is None


def test_unknown_names_have_near_misses():
    assert where_configs_are("catseg_vitb61").startswith("Shipped configs are in configs/, and known by name")
    assert "any folder: catseg_vitb16" in where_configs_are("catseg_vitb61")
    with pytest.raises(FileNotFoundError, match=r"not found: catseg_vitb61\. .* from any folder: catseg_vitb16"):
        load_config("catseg_vitb61")


def test_an_installed_package_has_its_own(monkeypatch, tmp_path):
    shutil.copytree(ROOT / "configs", tmp_path / "physseg" / "configs")
    monkeypatch.setattr(shipped_configs, "_PACKAGE", tmp_path / "physseg")
    assert config_folder() == tmp_path / "physseg" / "configs"
    assert load_config("toy").OUTPUT_DIR == "./output/toy"
