"""Shards as records, and what is wrong with them."""

import gzip
import itertools
import json

import numpy as np
import pytest

from physseg.data.images import BrokenFileError
from physseg.data.pairs.tars import decode_record, expand_tars, read_tar, shuffled_blocks
from tests.data.pairs.conftest import picture, write_tar


def keys(tar):
    return [item["__key__"] if isinstance(item, dict) else str(item) for item in read_tar(str(tar))]


def test_a_record_of_image_and_text(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [("0001", {"png": picture(7), "txt": " a  red\npicture "})])
    (item,) = read_tar(str(tar))
    record = decode_record(item, str(tar), captions=True)
    assert record["captions"] == ("a red picture",)
    assert record["file_name"] == f"{tar}/0001.png"
    assert record["image_id"] == f"{tar}/0001"
    assert np.array_equal(record["array"], picture(7))


def test_a_json_may_hold_captions_nouns_and_the_images_id(tmp_path):
    about = {"captions": ["one", "two"], "image_id": 42, "nouns": ["cat"]}
    tar = write_tar(tmp_path / "a.tar", [("x", {"jpg": picture(1), "json": json.dumps(about)})])
    record = decode_record(next(read_tar(str(tar))), "a.tar", captions=True)
    assert (record["captions"], record["nouns"], record["image_id"]) == (("one", "two"), ("cat",), "42")
    for key in ("caption", "text"):
        tar = write_tar(tmp_path / "a.tar", [("x", {"jpg": picture(1), "json": json.dumps({key: "three"})})])
        assert decode_record(next(read_tar(str(tar))), "a.tar", captions=True)["captions"] == ("three",)


def test_images_alone_need_no_caption(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [("x", {"png": picture(3), "cls": "7"})])
    assert "captions" not in decode_record(next(read_tar(str(tar))), "a.tar", captions=False)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"txt": "a cat"}, "a.tar/x has no image, only txt"),
        ({"png": b"no image", "txt": "a cat"}, r"cannot read image a.tar/x\.png"),
        ({"png": b"", "txt": "a cat"}, "it is empty"),
        ({"png": picture(1)}, "a.tar/x has no caption"),
        ({"png": picture(1), "txt": " \n"}, "a.tar/x: its caption is empty"),
        ({"png": picture(1), "txt": b"caf\xe9"}, r"a.tar/x: its text is not UTF-8 \(byte 3\)"),
        ({"png": picture(1), "json": "{"}, r"a.tar/x\.json is no JSON"),
        ({"png": picture(1), "json": "[1]"}, r"a.tar/x\.json holds no mapping"),
        ({"png": picture(1), "json": '{"caption": 5}'}, "its caption is empty"),
    ],
)
def test_broken_samples_are_named(tmp_path, members, message):
    tar = write_tar(tmp_path / "a.tar", [("x", members)])
    with pytest.raises(BrokenFileError, match=message):
        decode_record(next(read_tar(str(tar))), "a.tar", captions=True)


def test_a_tar_cut_short_gives_what_it_has_and_says_so(write_tars):
    (path,) = write_tars([5])
    with open(path, "rb") as file:
        data = file.read()
    assert keys(path) == [f"{n:06d}" for n in range(5)]
    # Each member takes a header and its content, both filled up to 512 bytes; here 1024 bytes each, 2048 a sample.
    for cut, whole in ((2 * 2048 + 700, 3), (2 * 2048 + 100, 2), (2 * 2048, 2), (2 * 2048 + 1024, 3)):
        with open(path, "wb") as file:
            file.write(data[:cut])
        found = keys(path)
        assert found[:-1] == [f"{n:06d}" for n in range(whole)], cut
        assert "cut short" in found[-1], cut


def test_a_sample_whose_other_half_is_lost_is_broken(write_tars):
    (path,) = write_tars([3])
    with open(path, "rb") as file:
        data = file.read(2048 + 1024)
    with open(path, "wb") as file:
        file.write(data)
    _, half, _ = read_tar(path)
    with pytest.raises(BrokenFileError, match="000001 has no caption"):
        decode_record(half, path, captions=True)


def test_compressed_tars(write_tars, tmp_path):
    (path,) = write_tars([3])
    packed = tmp_path / "a.tar.gz"
    with open(path, "rb") as file:
        packed.write_bytes(gzip.compress(file.read()))
    assert keys(packed) == ["000000", "000001", "000002"]
    packed.write_bytes(packed.read_bytes()[:-40])
    assert "cut short" in keys(packed)[-1]


def test_missing_and_remote_tars(write_tars, tmp_path):
    assert "cannot open" in keys(tmp_path / "gone.tar")[0]
    (path,) = write_tars([2])
    assert keys(f"pipe:cat {path}") == ["000000", "000001"]
    assert "damaged or cut short" in keys("pipe:cat /nothing/there 2>/dev/null")[-1]


def test_braces(write_tars):
    assert expand_tars(["a/{000..002}.tar", "b.tar"]) == ["a/000.tar", "a/001.tar", "a/002.tar", "b.tar"]
    with pytest.raises(ValueError, match=r"b\.tar comes twice"):
        expand_tars(["{b,b}.tar"])


def test_blocks_are_shuffled_by_seed_and_number():
    found = list(shuffled_blocks(iter(range(25)), 10, [0, 1]))
    assert [sorted(found[i : i + 10]) for i in (0, 10, 20)] == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 25)),
    ]
    assert found[:10] != list(range(10))
    assert [x % 10 for x in found[:10]] != [x % 10 for x in found[10:20]]
    assert list(itertools.islice(shuffled_blocks(itertools.count(), 10, [0, 1]), 20)) == found[:20]
