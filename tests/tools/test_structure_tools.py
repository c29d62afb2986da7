"""The two structure tools end to end on a few small files."""

import numpy as np
import pytest
from PIL import Image

from physseg.cli.boundary import run_program
from physseg.structure import SOURCES


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "data" / "images"
    folder.mkdir(parents=True)
    for index in range(2):
        picture = np.zeros((40, 60, 3), np.uint8)
        picture[10:30, 10 + index : 40] = 200
        Image.fromarray(picture).save(folder / f"{index}.png")
    return folder


def test_make_structure_labels(images, tmp_path, monkeypatch, capsys):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    name = "structure_tool_test"
    DatasetCatalog.register(name, lambda: [{"file_name": str(p)} for p in sorted(images.iterdir())])
    MetadataCatalog.get(name).ignore_label = 255
    arguments = [
        "--config-file",
        "physseg_vitb16",
        "--dataset",
        name,
        "--sources",
        "canny",
        "sift",
        "--output",
        str(tmp_path / "m"),
    ]
    try:
        assert run_program("structure_labels", [*arguments, "--workers", "1"]) == 0
        assert "2 images, 2 to do" in capsys.readouterr().out
        assert run_program("structure_labels", [*arguments, "--workers", "1"]) == 0
        assert "2 images, 0 to do" in capsys.readouterr().out
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    assert (tmp_path / "m" / "sift" / "images" / "1.png.png").is_file()


def test_visualize_structures(images, tmp_path):
    arguments = [str(images), "--output", str(tmp_path / "sheets"), "--config-file", "physseg_vitb16"]
    opts = ["--opts", "MODEL.DEVICE", "cpu", "MODEL.STRUCTURE.SUPERPOINT.WEIGHTS", str(tmp_path / "none")]
    assert run_program("visualize", arguments + opts) == 0
    with Image.open(tmp_path / "sheets" / "1.png") as sheet:
        assert sheet.size == ((1 + len(SOURCES)) * 60, 40 + 28)


def test_visualize_structures_of_an_empty_folder(tmp_path, capsys):
    assert run_program("visualize", [str(tmp_path), "--output", str(tmp_path), "--config-file", "physseg_vitb16"]) == 1
    assert "no images" in capsys.readouterr().err
