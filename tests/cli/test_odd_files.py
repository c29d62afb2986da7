"""Files of every odd kind: the good ones of a folder are done, the others are named."""

import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from physseg.cli.boundary import run_program
from physseg.data.images import BrokenFileError, read_image
from physseg.evaluation.image_counts import ImageLog
from physseg.evaluation.runner import _finished
from tests.small_model import CONFIG

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def huge_header(path):
    """A PNG that promises 100,000 x 100,000 pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)))


def truncated(path):
    Image.fromarray(RGB.repeat(20, 0).repeat(20, 1)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


ODD = {
    "empty.png": lambda path: path.touch(),
    "text.jpg": lambda path: path.write_text("no picture"),
    "cut.png": truncated,
    "cut.jpg": truncated,
    "huge.png": huge_header,
    "pipe.png": os.mkfifo,
    "folder.png": lambda path: path.mkdir(),
    "loop.png": lambda path: path.symlink_to(path.name),
    "gone.png": lambda path: path.symlink_to("nowhere"),
    "float.tif": lambda path: Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(path),
}
GOOD = {
    "gray.png": Image.fromarray(RGB[..., 0]),
    "alpha.png": Image.fromarray(RGB).convert("RGBA"),
    "palette.png": Image.fromarray(RGB).convert("P"),
    "bits16.png": Image.fromarray(RGB[..., 0].astype(np.uint16) * 257),
    "one_bit.png": Image.fromarray(RGB[..., 0]).convert("1"),
    "cmyk.jpg": Image.fromarray(RGB).convert("CMYK"),
    "dot.png": Image.fromarray(RGB[:1, :1]),
    "wide.png": Image.fromarray(np.zeros((1, 5000, 3), np.uint8)),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_image_is_named(tmp_path, name):
    ODD[name](tmp_path / name)
    with pytest.raises(OSError, match=name):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", GOOD)
def test_every_kind_of_image_is_read(tmp_path, name):
    GOOD[name].save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.uint8
    assert image.shape == (GOOD[name].height, GOOD[name].width, 3)


@pytest.mark.parametrize("seed", range(30))
def test_damage_anywhere_in_a_file_is_a_broken_file(tmp_path, seed):
    random = np.random.default_rng(seed)
    path = tmp_path / ("a.png", "a.jpg", "a.tif", "a.bmp", "a.webp")[seed % 5]
    Image.fromarray(RGB).save(path)
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[random.integers(0, len(content), 8)] ^= random.integers(1, 256, 8, dtype=np.uint8)
    path.write_bytes(content.tobytes())
    try:
        assert read_image(path).ndim == 3
    except BrokenFileError as error:
        assert path.name in str(error)  # noqa: PT017  (either is right)


def test_visualize_goes_past_broken_files_and_keeps_stems_apart(tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "a.jpg", "z.png"):
        Image.fromarray(RGB).save(photos / name)
    for name in ("empty.png", "text.jpg", "pipe.png"):
        ODD[name](photos / name)
    options = ["--config-file", str(CONFIG), "--output", str(tmp_path / "sheets"), "--opts", "MODEL.DEVICE", "cpu"]
    assert run_program("visualize", [str(photos), *options, "MODEL.STRUCTURE.SUPERPOINT.WEIGHTS", str(tmp_path)]) == 1
    assert sorted(p.name for p in (tmp_path / "sheets").iterdir()) == ["a_jpg.png", "a_png.png", "z.png"]
    failed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 3


SHAPES = ["", "{", "[]", "3", "null", '"x"', "{}", '{"fingerprint": 3}', "\xff"]


@pytest.mark.parametrize("content", SHAPES)
def test_results_in_another_shape_are_none(tmp_path, content, caplog):
    (tmp_path / "a.json").write_bytes(content.encode("latin-1"))
    assert _finished(tmp_path / "a.json", {"weights": "x"}) is None
    assert "starting over" in caplog.text


@pytest.mark.parametrize("line", ["{", "[]", "3", "{}", '{"other": 1}', "\xff"])
def test_a_log_damaged_in_the_middle_counts_as_none(tmp_path, line):
    header = json.dumps({"a": 1})
    (tmp_path / "log.jsonl").write_bytes(f"{header}\n{line}\n".encode("latin-1"))
    assert ImageLog(tmp_path / "log.jsonl", {"a": 1}).read() is None
