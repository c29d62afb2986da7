"""Structure maps in files: format, place, and the way through an augmentation."""

import numpy as np
import pytest
from PIL import Image

from physseg import compat  # noqa: F401
from physseg.structure import StructureOptions
from physseg.structure.maps import map_path, read_map, read_ready_maps, transform_map, write_map


def test_round_trip_in_one_bit_per_pixel(tmp_path):
    structure = np.random.default_rng(0).integers(0, 2, (37, 53), dtype=np.uint8)
    write_map(tmp_path / "deep" / "map.png", structure)
    with Image.open(tmp_path / "deep" / "map.png") as image:
        assert image.mode == "1"
    assert np.array_equal(read_map(tmp_path / "deep" / "map.png"), structure)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["map.png"]


def test_place_of_a_map(tmp_path):
    path = map_path("maps", "sift", tmp_path / "voc" / "a.jpg", tmp_path)
    assert path.as_posix() == "maps/sift/voc/a.jpg.png"
    with pytest.raises(ValueError, match=r"/elsewhere/a.jpg is not inside .*DETECTRON2_DATASETS"):
        map_path("maps", "sift", "/elsewhere/a.jpg", tmp_path)


def test_missing_map_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no structure map .*tools/make_structure_labels.py"):
        read_map(tmp_path / "a.png")


def test_a_smaller_size_keeps_thin_lines_and_colours_change_nothing():
    from detectron2.data import transforms as T
    from fvcore.transforms.transform import BlendTransform, CropTransform, HFlipTransform

    line = np.zeros((60, 90), np.uint8)
    line[:, 31] = 1
    moves = [T.ResizeTransform(60, 90, 40, 60), BlendTransform(0, 0.5, 0.5), CropTransform(10, 0, 40, 40)]
    moved = transform_map(line, T.TransformList([*moves, HFlipTransform(40)]))
    assert moved.shape == (40, 40)
    assert np.flatnonzero(moved[0]).tolist() == [39 - (21 - 10)]  # pixels 31 and 32 become 21
    assert (moved == moved[0]).all()


def test_a_larger_size_is_nearest_neighbour():
    from detectron2.data.transforms import ResizeTransform

    dot = np.array([[0, 1], [0, 0]], np.uint8)
    assert transform_map(dot, [ResizeTransform(2, 2, 4, 4)]).tolist() == [[0, 0, 1, 1]] * 2 + [[0] * 4] * 2


def test_ready_maps_are_read_by_source(tmp_path):
    structure = np.eye(4, dtype=np.uint8)
    write_map(tmp_path / "maps" / "superpoint" / "set" / "a.jpg.png", structure)
    options = StructureOptions(("canny", "superpoint"), maps_root=str(tmp_path / "maps"), maps_sources=("superpoint",))
    ready = read_ready_maps(tmp_path / "data" / "set" / "a.jpg", tmp_path / "data", options, [])
    assert list(ready) == ["superpoint"]
    assert np.array_equal(ready["superpoint"], structure)
    assert read_ready_maps(tmp_path / "x.jpg", tmp_path, StructureOptions(), []) == {}
