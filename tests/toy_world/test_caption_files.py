"""The toy world's captions on disk, in COCO's form."""

import json

import pytest

from physseg.data.pairs.records import read_coco_captions
from physseg.toy_world import caption_files
from physseg.toy_world.vocabularies import COMPOSITIONS, SYNONYMS

_PLAIN = {synonym: word for word, synonym in SYNONYMS.items()}


def named(caption):
    for synonym, word in _PLAIN.items():
        caption = caption.replace(synonym, word)
    return {c.name for c in COMPOSITIONS if c.name in caption}


def test_captions_are_of_their_image_and_repeatable(tmp_path, monkeypatch):
    monkeypatch.setattr(caption_files, "SPLITS", {"train2017": 6, "val2017": 2})
    folders = [caption_files.write_toy_captions(tmp_path / name, processes=1, progress=False) for name in "ab"]
    texts = [(f / "annotations" / "captions_train2017.json").read_text() for f in folders]
    assert texts[0] == texts[1]
    records = read_coco_captions(folders[0] / "annotations/captions_train2017.json", folders[0] / "images/train2017")
    assert [record["image_id"] for record in records] == [1, 2, 3, 4, 5, 6]
    for record in records:
        assert len(record["captions"]) == 5
        # The second caption names all that the picture shows.
        whole = named(record["captions"][1])
        assert all(named(caption) and named(caption) <= whole for caption in record["captions"])
    val = json.loads((folders[0] / "annotations/captions_val2017.json").read_text())
    assert [image["id"] for image in val["images"]] == [7, 8]
    with pytest.raises(FileExistsError, match="captions of seed 0; expected seed 1"):
        caption_files.write_toy_captions(tmp_path / "a", seed=1, processes=1, progress=False)
