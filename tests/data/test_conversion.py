import os
import pickle

import cv2
import numpy as np
import pytest
from PIL import Image

from physseg.data.conversion import convert
from physseg.data.images import read_image, read_label_map
from physseg.data.raw_formats import ade_full, context59
from physseg.data.raw_formats.allowed_pickle import load_allowed
from physseg.data.raw_formats.common import MissingInputError, to_train_ids
from physseg.data.specs import get_spec


def run(spec, root, **options):
    return convert(spec, root, workers=1, progress=False, **options)


def labels(spec, root, name):
    path = spec.labels_path(root) / f"{name}{spec.label_ext}"
    with Image.open(path) as image:
        assert image.mode == ("I;16" if spec.ignore_label == 65535 else "L")
    return read_label_map(path).tolist()


def test_coco_stuff_values_are_ids_minus_one(tmp_path, raw):
    spec = raw.sized("coco_stuff", 1)
    raw.save_image(spec.images_path(tmp_path) / "000000000009.jpg")
    # 0 person, 1 bicycle, 11 (street sign) never has a class, 12 stop sign, 181 the last, 255 unlabelled.
    values = [[0, 1, 11, 12], [181, 255, 90, 91], [10, 65, 89, 25], [0, 0, 0, 0]]
    raw.save_index(spec.base_path(tmp_path) / "annotations/train2017/000000000009.png", values)
    result = run(spec, tmp_path)
    assert (result.total, result.converted, result.failures) == (1, 1, [])
    assert labels(spec, tmp_path, "000000000009") == [
        [0, 1, 255, 11], [170, 255, 255, 80], [10, 255, 79, 255], [0, 0, 0, 0]
    ]  # fmt: skip
    names = spec.classes
    assert (names[11], names[80], names[170], names[79]) == ("stop sign", "banner", "wood", "toothbrush")


def test_coco_stuff_of_another_flavour_is_refused(tmp_path, raw):
    spec = raw.sized("coco_stuff", 1)
    raw.save_image(spec.images_path(tmp_path) / "a.jpg")
    raw.save_index(spec.base_path(tmp_path) / "annotations/train2017/a.png", np.full((4, 4), 183))
    ((name, message),) = run(spec, tmp_path).failures
    assert name == "a"
    assert "a.png: value 183 is none of COCO-Stuff's (0 to 181 or 255)" in message
    assert not list(spec.labels_path(tmp_path).glob("*"))


def test_ade150_zero_is_unlabelled(tmp_path, raw):
    spec = raw.sized("a150", 1)
    raw.save_image(spec.images_path(tmp_path) / "ADE_val_00000001.jpg")
    raw.save_index(
        spec.base_path(tmp_path) / "annotations/validation/ADE_val_00000001.png", np.arange(16).reshape(4, 4) * 10
    )
    run(spec, tmp_path)
    want = [[255, 9, 19, 29], [39, 49, 59, 69], [79, 89, 99, 109], [119, 129, 139, 149]]
    assert labels(spec, tmp_path, "ADE_val_00000001") == want


def test_ade_full_decodes_red_and_green(tmp_path, raw):
    spec = raw.sized("a847", 1)
    ids = spec.raw_ids
    # Train ids 255 and 256 are ordinary classes; raw 0 and ids outside the table are not.
    outside = next(i for i in range(1, 3689) if i not in ids)
    values = np.array([[ids[0], ids[255], ids[256], ids[846]], [0, outside, ids[1], ids[2]], [0] * 4, [0] * 4])
    raw.save_ade_full(tmp_path, spec.base, {"ADE_val_00000001": values, "ADE_train_00000001": values})
    assert run(spec, tmp_path).converted == 1
    want = [[0, 255, 256, 846], [65535, 65535, 1, 2], [65535] * 4, [65535] * 4]
    assert labels(spec, tmp_path, "ADE_val_00000001") == want
    image = read_image(spec.images_path(tmp_path) / "ADE_val_00000001.jpg")
    assert image.shape == (4, 4, 3)


@pytest.mark.parametrize(("size", "want"), [((520, 700), (512, 689)), ((700, 520), (689, 512)), ((512, 900), None)])
def test_ade_full_shrinks_the_short_side_to_512(size, want):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    ids = rng.integers(0, 65536, size).astype(np.uint16)
    small_image, small_ids = ade_full.shrink(image, ids)
    assert small_ids.dtype == np.uint16
    if want is None:
        assert small_image is image
        assert small_ids is ids
        return
    assert small_ids.shape == small_image.shape[:2] == want
    # The rule in exact integers: floor(x * source / target); 0.5-based sampling would give other pixels.
    rows = [x * size[0] // want[0] for x in range(want[0])]
    columns = [x * size[1] // want[1] for x in range(want[1])]
    np.testing.assert_array_equal(small_ids, ids[np.ix_(rows, columns)])
    np.testing.assert_array_equal(small_ids, cv2.resize(ids, want[::-1], interpolation=cv2.INTER_NEAREST))


def test_installed_opencv_resizes_linearly_as_version_4():
    image = np.random.default_rng(1).integers(0, 256, (600, 530, 3), dtype=np.uint8)
    small, _ = ade_full.shrink(image, np.zeros((600, 530), dtype=np.uint16))
    exact = image.astype(np.float64)
    for axis, (source, target) in enumerate(((600, 580), (530, 512))):
        position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        low = np.minimum(np.floor(position).astype(int), source - 2)
        weight = (position - low).reshape([-1 if a == axis else 1 for a in range(3)])
        exact = exact.take(low, axis) * (1 - weight) + exact.take(low + 1, axis) * weight
    assert small.shape == (580, 512, 3)
    assert np.abs(small - exact).max() < 1.0  # fixed-point weights, one rounding
    assert int(small.astype(np.int64).sum()) == 113454339  # OpenCV 4.10.0's sum


def test_context59_paints_in_file_order(tmp_path, raw):
    spec = raw.sized("pc59", 2)
    everything = np.ones((4, 4), dtype=int)
    top = np.zeros((4, 4), dtype=int)
    top[:2] = 1
    corner = np.zeros((4, 4), dtype=int)
    corner[0, 0] = 1
    # 445 water, 2 aeroplane, then 1 (accordion), which is none of the 59; the later one wins.
    segments = [(445, raw.rle(everything)), (2, raw.rle(top)), (1, raw.rle(corner))]
    raw.save_context_json(
        spec.base_path(tmp_path),
        {"2008_000002": ("val", segments), "2008_000003": ("train", segments), "2008_000007": ("val", [])},
    )
    for name in ("2008_000002", "2008_000003", "2008_000007"):
        raw.save_image(spec.images_path(tmp_path) / f"{name}.jpg")
    assert run(spec, tmp_path).converted == 2
    water = spec.classes.index("water")
    assert labels(spec, tmp_path, "2008_000002") == [[255, 0, 0, 0], [0] * 4, [water] * 4, [water] * 4]
    assert labels(spec, tmp_path, "2008_000007") == [[255] * 4] * 4


def test_context59_takes_compressed_rle():
    from pycocotools import mask

    square = np.zeros((4, 4), dtype=np.uint8, order="F")
    square[1:3, 1:3] = 1
    packed = mask.encode(square)
    packed["counts"] = packed["counts"].decode()
    np.testing.assert_array_equal(context59.paint(4, 4, [(9, packed)]), square * 9)
    with pytest.raises(ValueError, match=r"category 9 has size \(4, 4\), expected \(5, 5\)"):
        context59.paint(5, 5, [(9, packed)])


def test_context459_is_minus_one_in_16_bits(tmp_path, raw):
    spec = raw.sized("pc459", 1, list_sha256=None)
    base = spec.base_path(tmp_path)
    raw.save_mat(base / "trainval/2008_000002.mat", [[0, 1, 2, 255], [256, 257, 431, 459], [1] * 4, [1] * 4])
    raw.save_image(spec.images_path(tmp_path) / "2008_000002.jpg")
    (base / "pascalcontext_val.txt").write_text("2008_000002")
    assert run(spec, tmp_path).converted == 1
    assert labels(spec, tmp_path, "2008_000002") == [[65535, 0, 1, 254], [255, 256, 430, 458], [0] * 4, [0] * 4]
    assert spec.classes[430] == "unknown"


def test_context459_falls_back_to_the_json_list_and_compares_it(tmp_path, raw, caplog):
    spec = raw.sized("pc459", 1)
    base = spec.base_path(tmp_path)
    raw.save_mat(base / "trainval/2008_000002.mat", np.ones((4, 4)))
    raw.save_image(spec.images_path(tmp_path) / "2008_000002.jpg")
    with pytest.raises(MissingInputError, match=r"neither .*pascalcontext_val.txt nor .*trainval_merged.json"):
        run(spec, tmp_path)
    raw.save_context_json(base, {"2008_000002": ("val", []), "2008_000003": ("train", [])})
    assert run(spec, tmp_path).converted == 1
    assert "SHA-256 differs" in caplog.text


def test_context459_names_missing_and_damaged_files(tmp_path, raw):
    spec = raw.sized("pc459", 2, list_sha256=None)
    base = spec.base_path(tmp_path)
    (base / "trainval").mkdir(parents=True)
    (base / "pascalcontext_val.txt").write_text("a\nb\n")
    for name in "ab":
        raw.save_image(spec.images_path(tmp_path) / f"{name}.jpg")
    (base / "trainval/a.mat").write_bytes(b"MATLAB, or not")
    with pytest.raises(MissingInputError, match=r"1 of 2 label files are missing in .*trainval: b.mat"):
        run(spec, tmp_path)
    raw.save_mat(base / "trainval/b.mat", np.ones((4, 4)))
    result = run(spec, tmp_path)
    assert result.converted == 1
    assert "a.mat" in result.failures[0][1]


def make_voc(root, raw, spec, masks, folder="SegmentationClass"):
    base = spec.base_path(root)
    for name, values in masks.items():
        raw.save_palette(base / folder / f"{name}.png", values)
        raw.save_image(spec.images_path(root) / f"{name}.jpg")
    (base / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
    (base / "ImageSets/Segmentation/val.txt").write_text("\n".join(masks) + "\n")


MASK = [[0, 1, 2, 255], [20, 19, 0, 255], [0] * 4, [255] * 4]


def test_voc_takes_palette_indices(tmp_path, raw):
    for key, background in (("pas20", 255), ("pas20b", 20)):
        spec = raw.sized(key, 1)
        make_voc(tmp_path, raw, spec, {"2007_000033": MASK})
        assert run(spec, tmp_path).converted == 1
        b = background
        want = [[b, 0, 1, 255], [19, 18, b, 255], [b] * 4, [255] * 4]
        assert labels(spec, tmp_path, "2007_000033") == want


def test_voc_falls_back_to_an_aug_folder_only_with_void_borders(tmp_path, raw):
    spec = raw.sized("pas20", 2)
    make_voc(tmp_path, raw, spec, {"a": MASK, "b": MASK}, "SegmentationClassAug")
    assert run(spec, tmp_path).converted == 2
    make_voc(tmp_path, raw, spec, {"a": np.ones((4, 4)), "b": np.ones((4, 4))}, "SegmentationClassAug")
    with pytest.raises(MissingInputError, match="only 0 of 2 masks looked at have a void border"):
        run(spec, tmp_path)
    os.remove(spec.base_path(tmp_path) / "SegmentationClassAug/b.png")
    with pytest.raises(MissingInputError, match=r"2 of 2 masks are missing in .*does not serve either, without b"):
        run(spec, tmp_path)


def test_voc_without_masks_says_what_to_unpack(tmp_path, raw):
    spec = raw.sized("pas20", 1)
    with pytest.raises(MissingInputError, match=r"missing list of PAS-20: .*val.txt; see datasets/README.md"):
        run(spec, tmp_path)
    make_voc(tmp_path, raw, spec, {"a": MASK}, "Elsewhere")
    with pytest.raises(MissingInputError, match=r"1 of 1 masks are missing in .*VOCtrainval_11-May-2012.tar"):
        run(spec, tmp_path)


def test_second_run_keeps_what_is_there_and_does_the_rest(prepared):
    root, spec = prepared
    path = spec.labels_path(root) / "v1.png"
    path.unlink()
    result = run(spec, root)
    assert (result.total, result.converted, result.kept) == (3, 1, 2)
    assert read_label_map(path).max() == 1
    assert run(spec, root, overwrite=True).converted == 3


def test_processes_give_what_one_gives(tmp_path, raw):
    spec = raw.sized("a150", 32)
    for index in range(32):
        raw.save_image(spec.images_path(tmp_path) / f"{index:02d}.jpg")
        raw.save_index(spec.base_path(tmp_path) / f"annotations/validation/{index:02d}.png", np.full((4, 4), index))
    assert convert(spec, tmp_path, workers=2, progress=False).converted == 32
    for index in range(32):
        value = read_label_map(spec.labels_path(tmp_path) / f"{index:02d}.png")
        assert (value == (index - 1 if index else 255)).all()


def test_raw_folders_are_not_written(prepared):
    root, spec = prepared
    folder = spec.base_path(root) / "annotations"
    for path in [*folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    run(spec, root, overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_images_must_be_there(prepared):
    root, spec = prepared
    (spec.images_path(root) / "v2.jpg").unlink()
    with pytest.raises(MissingInputError, match=r"1 of 3 images are missing in .*: v2.jpg"):
        run(spec, root)


def test_label_maps_must_be_integers_in_range():
    spec = get_spec("a150")
    with pytest.raises(ValueError, match=r"x.png: value 151 is none of A-150's \(0 to 150\)"):
        to_train_ids(np.array([[151]], dtype=np.uint8), spec, "x.png")
    with pytest.raises(ValueError, match="expected a 2-D array of integers, got float64"):
        to_train_ids(np.zeros((2, 2)), spec, "x.png")
    with pytest.raises(ValueError, match="is empty"):
        to_train_ids(np.zeros((0, 2), dtype=np.uint8), spec, "x.png")


class Evil:
    def __reduce__(self):
        return (os.system, ("echo caught",))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_index_loads_plain_data(tmp_path, protocol):
    content = {
        "filename": ["a", "b"],
        "presence": np.eye(2),
        "names": np.array(["x", "yy"], dtype=object),
        "scalar": np.float64(3),
        "set": {1},
    }
    (tmp_path / "i.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    loaded = load_allowed(tmp_path / "i.pkl")
    assert loaded["filename"] == ["a", "b"]
    np.testing.assert_array_equal(loaded["presence"], np.eye(2))
    assert loaded["names"].tolist() == ["x", "yy"]


def test_index_of_numpy_1_loads(tmp_path):
    data = pickle.dumps({"filename": np.arange(3)}, protocol=2).replace(b"numpy._core.", b"numpy.core.")
    (tmp_path / "i.pkl").write_bytes(data)
    assert load_allowed(tmp_path / "i.pkl")["filename"].tolist() == [0, 1, 2]


def test_index_that_could_run_code_is_refused(tmp_path, capfd):
    for content in (Evil(), {"filename": [Evil()]}, np.array([Evil()], dtype=object), os.path.join):
        (tmp_path / "i.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match="not on the allow-list"):
            load_allowed(tmp_path / "i.pkl")
    (tmp_path / "i.pkl").write_bytes(b"\x80\x04half")
    with pytest.raises(ValueError, match=r"cannot load .*i.pkl"):
        load_allowed(tmp_path / "i.pkl")
    assert "caught" not in capfd.readouterr().out
