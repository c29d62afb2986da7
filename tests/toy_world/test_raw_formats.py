import json
import pickle

import numpy as np
import pytest
import scipy.io
from PIL import Image
from pycocotools import mask as coco_mask

from physseg.toy_world import raw_formats
from physseg.toy_world.scenes import Rendering
from physseg.toy_world.vocabularies import Row

WALL, DISC, STAR = 130, 3, 7  # composition indices; the star gets no raw value below


@pytest.fixture
def rendering():
    """12 x 16: wall everywhere, a disc's box over it, a star's box over part of that."""
    masks = [np.zeros((12, 16), bool) for _ in range(3)]
    masks[0][:] = True
    masks[1][2:8, 2:10] = True
    masks[2][6:10, 8:14] = True
    image = np.random.default_rng(0).integers(0, 255, (12, 16, 3)).astype(np.uint8)
    return Rendering(image, list(zip((WALL, DISC, STAR), masks, strict=True)))


def expected(rendering, wall, disc, star):
    labels = np.full((12, 16), wall)
    labels[2:8, 2:10] = disc
    labels[6:10, 8:14] = star
    return labels


def test_coco_stuff_png_and_jpeg(tmp_path, rendering):
    raw_formats.write_coco_stuff(tmp_path, "000000000001", "train2017", rendering, {WALL: 181, DISC: 0})
    png = Image.open(tmp_path / "coco-stuff/annotations/train2017/000000000001.png")
    assert png.mode == "L"
    np.testing.assert_array_equal(np.array(png), expected(rendering, 181, 0, 255))
    assert Image.open(tmp_path / "coco-stuff/images/train2017/000000000001.jpg").size == (16, 12)


def test_jpeg_keeps_the_channel_order(tmp_path):
    red = Rendering(np.full((16, 16, 3), (220, 30, 30), np.uint8), [(WALL, np.ones((16, 16), bool))])
    raw_formats.write_coco_stuff(tmp_path, "a", "val2017", red, {WALL: 1})
    pixel = np.array(Image.open(tmp_path / "coco-stuff/images/val2017/a.jpg"))[8, 8]
    assert np.abs(pixel.astype(int) - (220, 30, 30)).max() < 8


def test_ade150_png(tmp_path, rendering):
    raw_formats.write_ade150(tmp_path, "ADE_val_00000001", "validation", rendering, {WALL: 1, DISC: 32})
    png = Image.open(tmp_path / "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png")
    np.testing.assert_array_equal(np.array(png), expected(rendering, 1, 32, 0))


def test_ade_full_codes_classes_in_red_and_green(tmp_path, rendering):
    name = "ADE_val_00000001"
    raw_formats.write_ade_full(tmp_path, name, "val", rendering, {WALL: 3057, DISC: 255})
    folder = tmp_path / raw_formats.ade_full_folder(name)
    code = np.array(Image.open(folder / f"{name}_seg.png")).astype(int)
    np.testing.assert_array_equal(code[..., 0] // 10 * 256 + code[..., 1], expected(rendering, 3057, 255, 0))
    np.testing.assert_array_equal(code[..., 2], expected(rendering, 1, 2, 3))
    assert (folder / f"{name}.jpg").is_file()


def test_ade_full_index(tmp_path):
    raw_formats.write_ade_full_index(tmp_path, ["ADE_val_00000001", "ADE_train_00000002"])
    index = pickle.loads((tmp_path / "ADE20K_2021_17_01/index_ade20k.pkl").read_bytes())
    assert index["filename"] == ["ADE_val_00000001.jpg", "ADE_train_00000002.jpg"]
    assert index["folder"][0].startswith("ADE20K_2021_17_01/images/ADE/validation/")
    assert index["folder"][1].startswith("ADE20K_2021_17_01/images/ADE/training/")


def test_voc_palette_indices_and_void_border(tmp_path, rendering):
    raw_formats.write_voc(tmp_path, "2007_000001", "val", rendering, {DISC: 4})
    png = Image.open(tmp_path / "VOCdevkit/VOC2012/SegmentationClass/2007_000001.png")
    assert png.mode == "P"
    assert png.getpalette()[3:9] == [128, 0, 0, 0, 128, 0]
    labels = np.array(png)
    assert set(np.unique(labels)) == {0, 4, 255}
    assert (labels[3:5, 3:9] == 4).all()
    assert (labels[1:3, 1:11] == 255).all()  # one pixel either side of the border
    assert (labels[9:, :] == 0).all()  # the star and the wall are background, without borders


def test_voc_palette_last_colour_is_the_void_one():
    np.testing.assert_array_equal(raw_formats.voc_palette()[[0, 20, 255]], [[0, 0, 0], [0, 64, 128], [224, 224, 192]])


def test_voc_list(tmp_path):
    raw_formats.write_voc_list(tmp_path, "val", ["2007_000001", "2007_000002"])
    path = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"
    assert path.read_text() == "2007_000001\n2007_000002\n"


def test_context_mat(tmp_path, rendering):
    raw_formats.write_context(tmp_path, "2008_000001", "val", rendering, {WALL: 1, DISC: 458})
    labels = scipy.io.loadmat(tmp_path / "VOCdevkit/VOC2010/trainval/2008_000001.mat")["LabelMap"]
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, expected(rendering, 1, 458, 0))


def paint(segments):
    labels = np.zeros((12, 16), int)
    for category, rle in segments:
        labels[coco_mask.decode(rle).astype(bool)] = category
    return labels


def test_context_segments_overlap_and_paint_in_order(rendering):
    segments = raw_formats.context_segments(rendering, {WALL: 1, DISC: 5, STAR: 9})
    assert [category for category, _ in segments] == [1, 5, 9]
    assert sum(int(coco_mask.area(rle)) for _, rle in segments) > 12 * 16
    np.testing.assert_array_equal(paint(segments), expected(rendering, 1, 5, 9))


def test_context_segments_leave_unlabelled_things_out(rendering):
    segments = raw_formats.context_segments(rendering, {WALL: 1, DISC: 5})
    np.testing.assert_array_equal(paint(segments), expected(rendering, 1, 5, 0))


def test_context_json(tmp_path, rendering):
    segments = raw_formats.context_segments(rendering, {WALL: 1, DISC: 5})
    images = [("2008_000001", "val", (12, 16), segments), ("2009_000001", "train", (12, 16), [])]
    raw_formats.write_context_json(tmp_path, images, (Row(0, 1, "red brick wall"),))
    content = json.loads((tmp_path / "VOCdevkit/VOC2010/trainval_merged.json").read_text())
    assert content["images"][0] == {
        "image_id": 2008000001, "file_name": "2008_000001.jpg", "height": 12, "width": 16, "phase": "val",
    }  # fmt: skip
    annotations = content["annos_segmentation"]
    assert [(a["image_id"], a["category_id"]) for a in annotations] == [(2008000001, 1), (2008000001, 5)]
    np.testing.assert_array_equal(
        paint([(a["category_id"], a["segmentation"]) for a in annotations]), expected(rendering, 1, 5, 0)
    )
