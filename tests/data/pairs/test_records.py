"""COCO's captions and folders of images as records, and what is wrong with them."""

import json

import pytest
from PIL import Image

from physseg.data.images import BrokenFileError
from physseg.data.pairs.records import (
    check_contrast,
    image_ids,
    read_coco_captions,
    read_image_folder,
    rearranged,
)


def test_a_record_holds_all_captions_of_its_image(write_pairs):
    path, folder = write_pairs([["A cat.", "a  cat\nsleeps"], ["a dog"]])
    records = read_coco_captions(path, folder)
    assert [r["image_id"] for r in records] == [1, 2]
    assert records[0]["captions"] == ("A cat.", "a cat sleeps")
    assert records[0]["file_name"] == str(folder / "000000000001.png")
    each = rearranged(records, "each")
    assert [(r["image_id"], r["captions"]) for r in each] == [(1, ("A cat.",)), (1, ("a cat sleeps",)), (2, ("a dog",))]


def test_shuffled_captions_are_all_anothers(write_pairs):
    path, folder = write_pairs([[f"text {n}"] for n in range(1, 8)])
    shuffled = rearranged(read_coco_captions(path, folder), "shuffled", seed=3)
    assert sorted(r["captions"][0] for r in shuffled) == [f"text {n}" for n in range(1, 8)]
    assert all(r["captions"][0] != f"text {r['image_id']}" for r in shuffled)


def test_images_of_another_split_are_kept_apart(write_pairs):
    path, folder = write_pairs([["a"], ["b"], ["c"]])
    assert image_ids(path) == {1, 2, 3}
    assert [r["image_id"] for r in read_coco_captions(path, folder, apart_from={2})] == [1, 3]


def test_nouns_of_the_file(write_pairs):
    path, folder = write_pairs([["a cat and a dog"]])
    content = json.loads(path.read_text())
    content["annotations"][0]["nouns"] = ["cat", "dog", "cat"]
    path.write_text(json.dumps(content))
    assert read_coco_captions(path, folder)[0]["nouns"] == ("cat", "dog")


def test_empty_captions_stop_or_are_left_out_and_counted(write_pairs, caplog):
    path, folder = write_pairs([["a cat", " \n"], ["", "a dog"], [None]])
    with pytest.raises(BrokenFileError, match=r"3 of 5 captions are empty.*image 1.*DATALOADER\.SKIP_BROKEN"):
        read_coco_captions(path, folder)
    records = read_coco_captions(path, folder, skip_broken=True)
    assert [r["captions"] for r in records] == [("a cat",), ("a dog",)]
    assert "3 of 5 captions are empty" in caplog.text
    assert "1 of 3 images have no caption: 3" in caplog.text


def test_images_without_a_caption_are_left_out_and_named(write_pairs, caplog):
    path, folder = write_pairs([["a cat"], [], ["a dog"]])
    assert [r["image_id"] for r in read_coco_captions(path, folder)] == [1, 3]
    assert "1 of 3 images have no caption: 2" in caplog.text


def test_no_caption_at_all(write_pairs):
    path, folder = write_pairs([[], []])
    with pytest.raises(BrokenFileError, match="no image with a caption"):
        read_coco_captions(path, folder)


def test_captions_of_images_that_are_not_listed(write_pairs):
    path, folder = write_pairs([["a cat"]])
    content = json.loads(path.read_text())
    content["annotations"].append({"id": 9, "image_id": 77, "caption": "lost"})
    path.write_text(json.dumps(content))
    with pytest.raises(BrokenFileError, match="1 captions are of images that it does not list: 77"):
        read_coco_captions(path, folder)


def test_a_file_that_is_not_utf_8(write_pairs):
    path, folder = write_pairs([["a cat"]])
    path.write_bytes(path.read_bytes().replace(b"a cat", b"a caf\xe9"))
    with pytest.raises(BrokenFileError, match=r"not UTF-8.*at byte \d+.*iconv"):
        read_coco_captions(path, folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', "no JSON.*cut short"),
        ("[]", "not of COCO's form"),
        ('{"images": [], "annotations": {}}', "not of COCO's form"),
        ('{"images": [{"id": 1}], "annotations": []}', "no 'file_name'"),
        ('{"images": [7], "annotations": []}', "no 'id'"),
    ],
)
def test_other_contents(tmp_path, text, message):
    path = tmp_path / "captions.json"
    path.write_text(text)
    with pytest.raises(BrokenFileError, match=message):
        read_coco_captions(path, tmp_path)


def test_missing_file_and_missing_folder(write_pairs, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no captions file .*nothing\.json"):
        read_coco_captions(tmp_path / "nothing.json", tmp_path)
    path, _ = write_pairs([["a cat"], ["a dog"]])
    with pytest.raises(FileNotFoundError, match="none of the 2 images"):
        read_coco_captions(path, tmp_path / "elsewhere")


def test_all_captions_equal(write_pairs):
    path, folder = write_pairs([["photo", "photo"], ["photo"]])
    with pytest.raises(ValueError, match="my set: all 2 images have the same caption, 'photo'"):
        check_contrast(read_coco_captions(path, folder), "my set")
    path, folder = write_pairs([["photo"], ["photo", "a dog"]])
    check_contrast(read_coco_captions(path, folder), "my set")


def test_images_in_folders_below(tmp_path):
    for name in ("b.png", "n01/a.JPEG", ".hidden.png", "n01/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if name.lower().endswith(("png", "jpeg")):
            Image.new("RGB", (4, 4)).save(path)
        else:
            path.write_text("")
    assert [r["image_id"] for r in read_image_folder(tmp_path)] == ["b.png", "n01/a.JPEG"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no image"):
        read_image_folder(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no folder of images"):
        read_image_folder(tmp_path / "gone")
