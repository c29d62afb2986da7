"""tools/predict.py end to end, on a small model with random weights."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from physseg.cli.boundary import run_program
from physseg.data.images import read_label_map
from physseg.inference.find import find_files
from physseg.inference.prediction import shares
from tests.small_model import CONFIG, OPTS, save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights(tmp_path_factory.mktemp("weights") / "model.pth")


@pytest.fixture
def run(weights, tmp_path):
    """Run the tool on inputs with the small model; results in tmp_path/out."""

    def call(*inputs, options=("--vocabulary", "cat, dog, grass")):
        words = [*map(str, inputs), "--config-file", str(CONFIG), "--weights", str(weights), *options]
        return run_program("predict", [*words, "--output", str(tmp_path / "out"), "--opts", *map(str, OPTS)])

    return call


def picture(path, height=30, width=40, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(array).save(path)
    return path


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_image(run, tmp_path, capsys):
    assert run(picture(tmp_path / "a.jpg")) == 0
    assert tree(tmp_path / "out") == ["a.json", "a_labels.png", "a_overlay.jpg"]
    assert "1 of 1 files segmented" in capsys.readouterr().out
    labels = read_label_map(tmp_path / "out" / "a_labels.png")
    assert labels.shape == (30, 40)
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert (record["height"], record["width"]) == (30, 40)
    assert record["names"] == ["cat", "dog", "grass"]
    assert record["share"] == shares(labels, record["names"])
    with Image.open(tmp_path / "out" / "a_overlay.jpg") as overlay:
        assert overlay.width > 40  # the legend stands on the right


def test_a_folder_with_a_broken_file_goes_on_and_names_it(run, tmp_path, capsys):
    folder = tmp_path / "photos"
    picture(folder / "a.png")
    picture(folder / "deep" / "b.png", 20, 20)
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("left alone")
    picture(folder / "line.png", 1, 9000)
    missing = tmp_path / "missing.jpg"
    assert run(folder, missing, options=["--vocabulary", "cat; sofa, couch", "--batch-size", "2"]) == 1
    output = capsys.readouterr()
    assert "2 of 5 files segmented" in output.out
    assert f"failed: cannot read image {folder / 'broken.jpg'}" in output.err
    assert f"failed: {folder / 'line.png'}: an image of 9000x1 is too narrow" in output.err
    assert f"failed: no image {missing}" in output.err
    assert [name for name in tree(tmp_path / "out") if "labels" in name] == ["a_labels.png", "deep/b_labels.png"]
    assert json.loads((tmp_path / "out" / "a.json").read_text())["names"] == ["cat", "sofa, couch"]


def test_threshold_marks_the_rest_as_other(run, tmp_path):
    options = ["--vocabulary", "cat, dog", "--threshold", "1", "--other", "rest"]
    assert run(picture(tmp_path / "a.png"), options=options) == 0
    assert (read_label_map(tmp_path / "out" / "a_labels.png") == 2).all()
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["names"] == ["cat", "dog", "rest"]
    assert record["share"] == {"rest": 1.0}


def test_a_vocabulary_file_and_png_overlays(run, tmp_path):
    (tmp_path / "words.txt").write_text("# mine\ncat\nsofa, couch\n")
    image = picture(tmp_path / "a.png")
    assert run(image, options=["--vocabulary-file", str(tmp_path / "words.txt"), "--picture", "png"]) == 0
    assert tree(tmp_path / "out") == ["a.json", "a_labels.png", "a_overlay.png"]
    assert json.loads((tmp_path / "out" / "a.json").read_text())["names"] == ["cat", "sofa, couch"]


def test_a_video(run, tmp_path, capsys):
    source = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter_fourcc(*"MJPG"), 5, (40, 32))
    for value in (0, 120, 240):
        writer.write(np.full((32, 40, 3), value, np.uint8))
    writer.release()
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert run(source, tmp_path / "broken.mp4", options=["--vocabulary", "cat, dog", "--batch-size", "2"]) == 1
    assert "broken.mp4: no frame could be decoded" in capsys.readouterr().err
    assert tree(tmp_path / "out") == ["clip.json", "clip_legend.png", "clip_overlay.mp4"]
    record = json.loads((tmp_path / "out" / "clip.json").read_text())
    assert (record["frames"], record["fps"]) == (3, 5.0)
    assert sum(record["share"].values()) == pytest.approx(1, abs=1e-5)
    capture = cv2.VideoCapture(str(tmp_path / "out" / "clip_overlay.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 3
    assert int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)) == 40
    capture.release()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--vocabulary", "cat, cat"], "names a class more than once"),
        (["--vocabulary-file", "none.txt"], "'none.txt' is neither a file"),
        (
            ["--vocabulary", "cat, other", "--threshold", "0.5"],
            "has a name 'other' already; choose another one by --other",
        ),
    ],
)
def test_bad_vocabularies(run, tmp_path, capsys, options, message):
    assert run(picture(tmp_path / "a.png"), options=options) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_nothing_to_do(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty") == 1
    assert "no images or videos in" in capsys.readouterr().err


def test_no_weights(tmp_path, capsys):
    image = picture(tmp_path / "a.png")
    assert run_program("predict", [str(image), "--config-file", str(CONFIG), "--output", str(tmp_path / "out")]) == 1
    assert "no weights: give a checkpoint by --weights" in capsys.readouterr().err


def test_targets_are_all_different(tmp_path):
    folder, other, out = tmp_path / "in", tmp_path / "other", tmp_path / "in" / "out"
    for path in ("in/a.jpg", "in/a.png", "in/x/a.jpg", "in/out/a_overlay.jpg", "other/a.jpg", "in/b.c.jpg"):
        picture(tmp_path / path)
    jobs = find_files([folder, other, folder / "a.jpg"], out).jobs
    targets = {str(job.source.relative_to(tmp_path)): str(job.target.relative_to(out)) for job in jobs}
    assert targets == {
        "in/a.jpg": "a_jpg",
        "in/a.png": "a_png",
        "in/b.c.jpg": "b.c",
        "in/x/a.jpg": "x/a",
        "other/a.jpg": "a_jpg_",
    }


def test_a_picture_by_tiles(run, tmp_path, capsys):
    pytest.importorskip("rasterio")
    words = ["--vocabulary", "cat, dog", "--tile", "96", "--tile-overlap", "16"]
    small, large = picture(tmp_path / "small.png", 60, 80), picture(tmp_path / "large.png", 200, 170)
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert run(small, large, tmp_path / "broken.png", options=[*words, "--format", "labels", "--batch-size", "2"]) == 1
    assert tree(tmp_path / "out") == ["large_labels.tif", "small_labels.tif"]
    assert "cannot read image" in capsys.readouterr().err
    # One window sees a small picture whole.
    run(small, options=["--vocabulary", "cat, dog", "--format", "labels"])
    tiled = read_label_map(tmp_path / "out" / "small_labels.tif")
    assert np.array_equal(tiled, read_label_map(tmp_path / "out" / "small_labels.png"))
    assert read_label_map(tmp_path / "out" / "large_labels.tif").shape == (200, 170)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tile", "7"], "--tile: expected 32 pixels or more, got 7"),
        (["--tile", "96", "--tile-overlap", "33"], "--tile-overlap: expected 0 to a third of the tile (32 pixels)"),
        (["--tile", "--range", "5", "5"], "--range: expected a low and a higher value"),
        (["--tile", "--format", "npz"], "--format npz needs the whole picture in memory"),
    ],
)
def test_bad_tiles(run, tmp_path, capsys, options, message):
    pytest.importorskip("rasterio")
    assert run(picture(tmp_path / "a.png"), options=["--vocabulary", "cat, dog", *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_formats_are_chosen(run, tmp_path):
    options = ["--vocabulary", "cat, dog", *("--format", "coco", "--format", "npz", "--format", "labels") * 2]
    assert run(picture(tmp_path / "a.png"), options=options) == 0
    assert tree(tmp_path / "out") == ["a_coco.json", "a_labels.png", "a_probabilities.npz"]
    labels = read_label_map(tmp_path / "out" / "a_labels.png")
    with np.load(tmp_path / "out" / "a_probabilities.npz") as file:
        probabilities = file["probabilities"]
    assert np.array_equal(probabilities.argmax(0), labels)
    for region in json.loads((tmp_path / "out" / "a_coco.json").read_text())["annotations"]:
        inside = labels == region["category_id"]
        assert region["score"] == pytest.approx(probabilities.max(0)[inside].mean(), abs=1e-5)


def test_shares_by_hand():
    assert shares(np.array([[0, 2], [2, 2]]), ["cat", "dog", "grass"]) == {"grass": 0.75, "cat": 0.25}


def test_precision_of_the_command_line(run, tmp_path, monkeypatch):
    from physseg.modeling.meta_arch import PhysSeg

    seen = []
    predict = PhysSeg.predict
    monkeypatch.setattr(PhysSeg, "predict", lambda self, x: seen.append(self.precision) or predict(self, x))
    for options in ([], ["--precision", "float32"], ["--precision", "bf16"]):
        assert run(picture(tmp_path / "a.png"), options=["--vocabulary", "cat, dog", *options]) == 0
    assert seen == ["auto", "float32", "bf16"]
