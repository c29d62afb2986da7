"""Words that are no words, pictures and videos that are not whole, exports that cannot be: said, never passed over."""

import json
import os

import cv2
import numpy as np
import pytest
from PIL import Image

from physseg.cli.boundary import run_program
from physseg.data.vocabularies import check_vocabulary, meant_as_source, read_name_list
from physseg.inference import video
from tests.small_model import CONFIG, OPTS, save_weights

MODEL = ["--config-file", str(CONFIG), "--opts", *map(str, OPTS)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(save_weights(tmp_path_factory.mktemp("weights") / "model.pth"))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (20, 20)).save(path)
    return str(path)


@pytest.fixture
def predict(weights, tmp_path):
    def run(*words, vocabulary=("--vocabulary", "cat, dog")):
        return run_program(
            "predict", [*words, "--weights", weights, "--output", str(tmp_path / "o"), *vocabulary, *MODEL]
        )

    return run


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("words.txt", "a file"),
        ("lists/words", "a file"),
        ("~/words", "a file"),
        ("names.json", "a file"),
        ("a151", "a benchmark, and there is none of that name; did you mean a150?"),
        ("A-150", "a benchmark, and there is none of that name; did you mean a150?"),
        ("pc60", "a benchmark"),
        ("ade20k_150_test_semseg", "a benchmark"),
        ("cat", ""),
        ("traffic light", ""),
        ("U.S. flag", ""),
        ("Boeing 747", ""),
        ("café", ""),
    ],
)
def test_the_look_of_a_word(word, meant):
    assert meant_as_source(word).startswith(meant)
    assert bool(meant_as_source(word)) == bool(meant)


@pytest.mark.parametrize("words", ["words.txt", "a151"])
def test_what_looks_like_a_source_is_refused_and_can_be_insisted_on(predict, photo, words, capsys, tmp_path):
    assert predict(photo, vocabulary=("--vocabulary", words)) == 1
    assert f"write '{words};'" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    assert predict(photo, vocabulary=("--vocabulary", words + ";")) == 0
    assert json.loads((tmp_path / "o" / "photo.json").read_text())["names"] == [words]


@pytest.mark.parametrize("option", ["--vocabulary", "--vocabulary-file"])
@pytest.mark.parametrize("words", ["", "  ", ",", " ; , "])
def test_an_empty_vocabulary_is_not_the_configs(predict, photo, option, words, capsys):
    assert predict(photo, vocabulary=(option, words)) == 1
    assert f"error: {option} is empty" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cat\ndog", "cat\rdog", "a\tb", "a\0b", "a\x1b[31m", "a\u2028b", "\udcff"])
def test_names_that_are_no_text(name):
    with pytest.raises(ValueError, match=r"holds a line break, a tab or another character that is no text"):
        check_vocabulary(["dog", name])


@pytest.mark.parametrize("name", ["\u200b", "soft\xadhyphen", "\u202ecat", "cat\ufeff"])
def test_names_with_characters_that_cannot_be_seen(name):
    with pytest.raises(ValueError, match=r"\\(xad|ufeff|u20).*cannot be seen"):
        check_vocabulary(["dog", name])


def test_names_with_joiners():
    name = "\N{BENGALI LETTER KA}\N{BENGALI SIGN VIRAMA}\N{ZERO WIDTH NON-JOINER}\N{BENGALI LETTER SSA}"
    assert check_vocabulary([name]) == [name]


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"cat\r\ndog\r\n", ["cat", "dog"]),
        (b"\xef\xbb\xbfcat\ndog", ["cat", "dog"]),
        (b"\n\n cat \n\n# no\n", ["cat"]),
        ("Kätzchen\n猫\n".encode(), ["Kätzchen", "猫"]),
    ],
)
def test_name_lists_of_every_kind(tmp_path, content, names):
    (tmp_path / "words.txt").write_bytes(content)
    assert read_name_list(tmp_path / "words.txt") == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n# nothing\n", "is empty"),
        ("Kätzchen".encode("latin-1"), "is not UTF-8 text"),
        ("cat\ndog".encode("utf-16"), "is not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is not UTF-8 text"),
        (b"cat\x00dog\n", "no text"),
        (b"cat\ncat\n", "more than once"),
        (b"cat\n,\n", "empty name"),
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".names"])
def test_name_lists_that_are_none(tmp_path, content, message, suffix):
    (tmp_path / f"words{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_name_list(tmp_path / f"words{suffix}")


def test_a_long_name_is_said_to_be_cut(predict, photo, caplog):
    name = "cat " * 100
    assert predict(photo, vocabulary=("--vocabulary", f"dog; {name};")) == 0
    (text,) = [record.getMessage() for record in caplog.records if "cut off" in record.getMessage()]
    assert text.startswith("CLIP reads 40 tokens")
    assert "A photo of a cat cat" in text


def film(path, frames=8, fourcc="MJPG"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), 5, (64, 48))
    for value in range(frames):
        writer.write(np.full((48, 64, 3), 20 * value, np.uint8))
    writer.release()
    return path


def test_a_video_that_ends_early(predict, tmp_path, capsys):
    path = film(tmp_path / "film.avi")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 5])
    promised = video.frame_count(path)
    assert predict(str(path)) == 1
    error = capsys.readouterr().err
    assert f"of {promised} frames could be decoded" in error or "no frame could be decoded" in error


def test_a_video_whose_output_disk_is_full(predict, tmp_path, monkeypatch, capsys):
    path = film(tmp_path / "film.avi")
    real = video.frame_count
    monkeypatch.setattr(video, "frame_count", lambda place: 3 if ".tmp" in place.name else real(place))
    assert predict(str(path)) == 1
    assert "3 of 8 frames arrived in" in capsys.readouterr().err.splitlines()[-1]
    assert not list((tmp_path / "o").iterdir())


@pytest.mark.parametrize("name", ["pipe.mp4", "folder.mp4", "gone.mp4", "loop.mp4"])
def test_what_is_no_video(predict, tmp_path, capsys, name):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    assert predict(str(tmp_path / name)) == 1
    assert name in capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def export(weights, tmp_path):
    def run(output, *words, given=True):
        return run_program(
            "export", [*(["--weights", weights] if given else []), "--output", str(tmp_path / output), *words, *MODEL]
        )

    return run


def test_exports_that_cannot_be(export, tmp_path, capsys):
    many = ("--vocabulary", ", ".join(f"class {index}" for index in range(300)))
    for arguments, message in (
        ((export, "m.npz"), "the name must end in .onnx"),
        ((export, "m"), "the name must end in .onnx"),
        ((export, "m.onnx", *many), "the vocabulary has 300 names; the exported model takes 256 at a time"),
    ):
        function, *words = arguments
        assert function(*words) == 1
        assert message in capsys.readouterr().err
    assert export("m.onnx", given=False) == 1
    assert "no weights: give a checkpoint by --weights" in capsys.readouterr().err
    assert not list(tmp_path.glob("m*"))
