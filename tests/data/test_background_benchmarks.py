"""VOC-21, Context-60, COCO-Object and Cityscapes-19 from raw files made by hand."""

import numpy as np

from physseg.data.conversion import convert
from physseg.data.images import read_label_map


def labels(spec, root, name):
    return read_label_map(spec.labels_path(root) / f"{name}{spec.label_ext}").tolist()


def run(spec, root):
    result = convert(spec, root, workers=1, progress=False)
    assert result.failures == []
    return result


def test_voc21_keeps_zero_as_background_and_void_ignored(tmp_path, raw):
    spec = raw.sized("voc21", 1)
    base = spec.base_path(tmp_path)
    raw.save_image(spec.images_path(tmp_path) / "a.jpg")
    raw.save_palette(base / "SegmentationClass/a.png", [[0, 1, 2, 255], [20, 19, 0, 255], [0] * 4, [255] * 4])
    (base / "ImageSets/Segmentation").mkdir(parents=True)
    (base / "ImageSets/Segmentation/val.txt").write_text("a\n")
    run(spec, tmp_path)
    assert labels(spec, tmp_path, "a") == [[0, 1, 2, 255], [20, 19, 0, 255], [0] * 4, [255] * 4]
    assert (spec.classes[0], spec.classes[1], spec.classes[20]) == ("background", "aeroplane", "tvmonitor")


def test_context60_what_has_no_name_is_background(tmp_path, raw):
    spec = raw.sized("pc60", 1)
    everything, corner, top = np.ones((4, 4), dtype=int), np.zeros((4, 4), dtype=int), np.zeros((4, 4), dtype=int)
    top[:2], corner[0, 0] = 1, 1
    # 445 water, 2 aeroplane, then 1 (accordion), which is none of the 59.
    segments = [(445, raw.rle(everything)), (2, raw.rle(top)), (1, raw.rle(corner))]
    raw.save_context_json(spec.base_path(tmp_path), {"2008_000002": ("val", segments), "2008_000007": ("val", [])})
    for name in ("2008_000002", "2008_000007"):
        raw.save_image(spec.images_path(tmp_path) / f"{name}.jpg")
    run(spec, tmp_path)
    water = spec.classes.index("water")
    assert labels(spec, tmp_path, "2008_000002") == [[0, 1, 1, 1], [1] * 4, [water] * 4, [water] * 4]
    assert labels(spec, tmp_path, "2008_000007") == [[0] * 4] * 4


def test_coco_object_stuff_and_unlabelled_are_background(tmp_path, raw):
    spec = raw.sized("coco_object", 1)
    raw.save_image(spec.images_path(tmp_path) / "a.jpg")
    values = [[0, 1, 12, 89], [91, 181, 255, 11], [0] * 4, [0] * 4]
    raw.save_index(spec.base_path(tmp_path) / "annotations/val2017/a.png", values)
    run(spec, tmp_path)
    assert labels(spec, tmp_path, "a") == [[1, 2, 12, 80], [0, 0, 0, 0], [1] * 4, [1] * 4]
    assert (spec.classes[1], spec.classes[12], spec.classes[80]) == ("person", "stop sign", "toothbrush")


def test_coco_object_of_another_flavour_is_refused(tmp_path, raw):
    spec = raw.sized("coco_object", 1)
    raw.save_image(spec.images_path(tmp_path) / "a.jpg")
    raw.save_index(spec.base_path(tmp_path) / "annotations/val2017/a.png", np.full((4, 4), 183))
    ((_, message),) = convert(spec, tmp_path, workers=1, progress=False).failures
    assert "value 183 is none of COCO-Object's" in message


def test_cityscapes_folders_per_city_become_one(tmp_path, raw):
    spec = raw.sized("cityscapes", 2)
    base = spec.base_path(tmp_path)
    for city, name, values in (
        ("frankfurt", "frankfurt_000000_000294", [[0, 7, 8, 11], [33, 32, 31, 28], [23, 1, 2, 3], [7] * 4]),
        ("lindau", "lindau_000000_000019", [[26] * 4] * 4),
    ):
        raw.save_image(base / f"leftImg8bit/val/{city}/{name}_leftImg8bit.png")
        raw.save_index(base / f"gtFine/val/{city}/{name}_gtFine_labelIds.png", values)
    assert run(spec, tmp_path).converted == 2
    want = [[255, 0, 1, 2], [18, 17, 16, 15], [10, 255, 255, 255], [0] * 4]
    assert labels(spec, tmp_path, "frankfurt_000000_000294") == want
    assert labels(spec, tmp_path, "lindau_000000_000019") == [[13] * 4] * 4
    images = sorted(path.name for path in spec.images_path(tmp_path).iterdir())
    assert images == ["frankfurt_000000_000294.png", "lindau_000000_000019.png"]
    # A second run does what is left: nothing.
    assert run(spec, tmp_path).kept == 2
