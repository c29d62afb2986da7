"""Every format read back by a reader that is not its writer."""

import json
import struct
import sys
import zlib

import cv2
import matplotlib.path
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from physseg.inference.formats import FORMATS, check_formats, write_format, write_overlay
from physseg.inference.formats.label_png import MODEL_KEY, NAMES_KEY, write_label_png
from physseg.inference.prediction import Prediction
from physseg.visualization import palette

NAMES = ["cat", "sofa, couch", "Bär"]


@pytest.fixture
def prediction(tmp_path):
    labels = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [0, 0, 1, 0]])
    scores = np.arange(12, dtype=np.float32).reshape(3, 4) / 16
    image = np.full((3, 4, 3), 100, np.uint8)
    probabilities = np.stack([scores, scores / 2, scores / 4])
    return Prediction(tmp_path / "a.jpg", image, labels, NAMES, scores, probabilities, "a model")


def png_chunks(path):
    """(type, data) of a PNG's chunks, by the specification."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position = 8
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length


def png_texts(path):
    """iTXt chunks by keyword: keyword, 0, compressed?, 0, language, 0, translated keyword, 0, UTF-8 text."""
    texts = {}
    for kind, data in png_chunks(path):
        if kind == b"iTXt":
            keyword, rest = data.split(b"\0", 1)
            compressed = rest[0]
            _, _, text = rest[2:].split(b"\0", 2)
            texts[keyword.decode()] = (zlib.decompress(text) if compressed else text).decode("utf-8")
    return texts


def test_label_png_opens_in_colour_and_says_its_names(prediction, tmp_path):
    path = write_format("labels", tmp_path / "a", prediction)
    assert path == tmp_path / "a_labels.png"
    header = next(png_chunks(path))
    assert struct.unpack(">IIBB", header[1][:10]) == (4, 3, 8, 3)  # width, height, 8 bit, palette
    assert dict(png_chunks(path))[b"PLTE"].startswith(palette(3).tobytes())
    assert (cv2.imread(str(path))[..., ::-1] == palette(3)[prediction.labels]).all()
    assert np.array_equal(np.array(Image.open(path)), prediction.labels)
    texts = png_texts(path)
    assert json.loads(texts[NAMES_KEY]) == NAMES
    assert texts[MODEL_KEY] == "a model"


@pytest.mark.parametrize(("count", "mode"), [(1, "P"), (256, "P"), (257, "I;16")])
def test_a_palette_holds_256_names(tmp_path, count, mode):
    labels, names = np.array([[0, count - 1]]), [f"class {i}" for i in range(count)]
    write_label_png(tmp_path / "a.png", labels, names)
    with Image.open(tmp_path / "a.png") as file:
        assert file.mode == mode
    unchanged = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    if mode == "P":
        assert (unchanged[..., ::-1] == palette(count)[labels]).all()
    else:
        assert unchanged.dtype == np.uint16
        assert (unchanged == labels).all()
    assert json.loads(png_texts(tmp_path / "a.png")[NAMES_KEY]) == names


def test_labels_that_are_no_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected labels from 0 to 1, one for each name; got 0 to 2"):
        write_label_png(tmp_path / "a.png", np.array([[0, 2]]), ["cat", "dog"])
    with pytest.raises(ValueError, match="65,536 names at most; got 70000"):
        write_label_png(tmp_path / "a.png", np.array([[0]]), [str(i) for i in range(70000)])


def test_coco_holds_a_region_per_name(prediction, tmp_path, capsys):
    path = write_format("coco", tmp_path / "a", prediction)
    coco = COCO(str(path))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == NAMES
    (image,) = coco.loadImgs(coco.getImgIds())
    assert (image["height"], image["width"], image["file_name"]) == (3, 4, str(tmp_path / "a.jpg"))
    found = {a["category_name"]: a for a in coco.loadAnns(coco.getAnnIds())}
    for index, name in enumerate(NAMES):
        region = prediction.labels == index
        assert (coco.annToMask(found[name]) == region).all()
        assert found[name]["area"] == region.sum()
        assert found[name]["score"] == pytest.approx(prediction.scores[region].mean(), abs=1e-6)
    assert found["Bär"]["bbox"] == [1, 1, 2, 1]
    assert found["sofa, couch"]["bbox"] == [2, 0, 2, 3]


def test_npz_holds_the_probabilities_as_they_are(prediction, tmp_path):
    with np.load(write_format("npz", tmp_path / "a", prediction)) as file:
        assert np.array_equal(file["probabilities"], prediction.probabilities)
        assert file["probabilities"].dtype == np.float32
        assert file["names"].tolist() == NAMES


def test_geojson_polygons_cover_their_pixels_and_no_others(prediction, tmp_path):
    pytest.importorskip("rasterio")
    labels = prediction.labels.copy()
    labels[1, 2] = 0  # touches the rest of its name by corners alone
    scores = np.full((3, 4), 0.25, np.float32)
    prediction = Prediction(prediction.source, prediction.image, labels, NAMES, scores)
    record = json.loads(write_format("geojson", tmp_path / "a", prediction).read_text())
    assert record["type"] == "FeatureCollection"
    centres = np.stack(np.meshgrid(np.arange(4) + 0.5, np.arange(3) + 0.5), axis=-1).reshape(-1, 2)
    painted = np.full(12, -1)
    for feature in record["features"]:
        outer, *holes = (matplotlib.path.Path(ring) for ring in feature["geometry"]["coordinates"])
        inside = outer.contains_points(centres)
        for hole in holes:
            inside &= ~hole.contains_points(centres)
        assert (painted[inside] == -1).all()
        painted[inside] = feature["properties"]["label"]
        assert feature["properties"]["area"] == inside.sum()
        assert feature["properties"]["name"] == NAMES[feature["properties"]["label"]]
        assert feature["properties"]["score"] == 0.25
    assert np.array_equal(painted.reshape(3, 4), labels)
    assert len(record["features"]) == 6


def test_a_hole_is_no_part_of_its_polygon(tmp_path):
    pytest.importorskip("rasterio")
    labels = np.zeros((3, 3), int)
    labels[1, 1] = 1
    prediction = Prediction(tmp_path / "a.jpg", np.zeros((3, 3, 3), np.uint8), labels, ["cat", "dog"])
    features = json.loads(write_format("geojson", tmp_path / "a", prediction).read_text())["features"]
    rings = {f["properties"]["name"]: len(f["geometry"]["coordinates"]) for f in features}
    assert rings == {"cat": 2, "dog": 1}
    assert "score" not in features[0]["properties"]


def test_the_summary_and_the_overlay(prediction, tmp_path):
    record = json.loads(write_format("json", tmp_path / "a", prediction).read_text())
    assert record["names"] == NAMES
    assert record["model"] == "a model"
    assert record["share"] == {"cat": 0.5, "sofa, couch": 0.333333, "Bär": 0.166667}
    path = write_overlay(tmp_path / "a", prediction, 0.5, "png")
    assert np.array(Image.open(path)).shape[2] == 3


def test_unknown_formats_and_missing_extras(monkeypatch):
    with pytest.raises(ValueError, match=r"--format: expected one of overlay, labels, json, coco, .*, got 'svg'"):
        check_formats(["svg"])
    check_formats(["overlay", *(name for name in FORMATS if name != "geojson")])
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(ImportError, match=r'--format geojson needs rasterio: pip install "physseg\[geo\]"'):
        check_formats(["geojson"])
