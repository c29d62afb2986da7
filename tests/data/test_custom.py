import itertools

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from physseg.config import load_config
from physseg.data.checking import NotPreparedError
from physseg.data.custom import read_custom, register_custom
from physseg.data.loaders import build_test_loader, build_train_loader


@pytest.fixture
def folder(tmp_path, raw):
    """Four images of mixed formats, 16-bit and 8-bit label maps, names with an 'other' class."""
    for index, suffix in enumerate((".png", ".jpg", ".webp", ".tif")):
        raw.save_image(tmp_path / "images" / f"i{index}{suffix}", 8, 8, index)
    for index, (suffix, dtype) in enumerate(
        ((".png", np.uint8), (".png", np.uint16), (".tif", np.uint16), (".tif", np.uint8))
    ):
        raw.save_index(tmp_path / "labels" / f"i{index}{suffix}", np.full((8, 8), index % 3), dtype)
    (tmp_path / "names.txt").write_text("grass\nmuddy path, track\nother\n")
    return tmp_path


def entry(folder, **changes):
    values = {
        "name": "own",
        "images": str(folder / "images"),
        "labels": str(folder / "labels"),
        "classes": str(folder / "names.txt"),
    }
    return values | changes


def test_from_yaml_to_batches(folder):
    (folder / "own.yaml").write_text("name: own_train\nimages: images\nlabels: labels\nclasses: names.txt\n")
    (folder / "config.yaml").write_text(
        f"DATASETS:\n  CUSTOM: ['{folder}/own.yaml']\n  TRAIN: ['own_train']\n  TEST: ['own_train']\n"
        "DATALOADER: {NUM_WORKERS: 0}\nINPUT: {MIN_SIZE_TRAIN: [8], CROP: {SIZE: [8, 8]}}\n"
    )
    cfg = load_config(folder / "config.yaml")
    batch = next(iter(build_train_loader(cfg)))
    assert len(batch) == 4
    assert {int(sample["sem_seg"].max()) for sample in batch} == {0, 1, 2}
    assert len(list(build_test_loader(cfg, "own_train"))) == 4
    metadata = MetadataCatalog.get("own_train")
    assert metadata.stuff_classes == ["grass", "muddy path, track", "other"]
    assert metadata.vocabulary == metadata.stuff_classes
    assert metadata.evaluator_type == "sem_seg"


def test_entries_in_the_config_itself_and_by_override(folder):
    cfg = load_config(None, ["DATASETS.CUSTOM", [entry(folder, name="own_inline", ignore_label=9, classes=["a", "b"])]])
    register_custom(cfg)
    register_custom(cfg)
    assert MetadataCatalog.get("own_inline").ignore_label == 9
    assert len(DatasetCatalog.get("own_inline")) == 4


def test_vocabulary_may_differ_from_the_classes(folder):
    (dataset,) = read_custom([entry(folder, vocabulary=["lawn", "dirt road", "something"])])
    assert dataset.classes[0] == "grass"
    assert dataset.vocabulary[0] == "lawn"
    assert read_custom(entry(folder, classes="pas20"))[0].classes[0] == "aeroplane"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": None}, r"DATASETS.CUSTOM\[0\]: no classes; it takes name, images, labels, classes"),
        ({"label": "x"}, r"unknown label; it takes"),
        ({"name": "voc_2012_test_sem_seg"}, "belongs to a benchmark"),
        ({"vocabulary": ["one"]}, "vocabulary has 1 names, classes 3"),
        ({"ignore_label": 2}, r"ignore_label 2 is the index of class 'other'"),
        ({"ignore_label": "no"}, "ignore_label must be an integer, got 'no'"),
        ({"classes": ["a", "a"]}, r"DATASETS.CUSTOM\[0\]: classes names a class more than once"),
        ({"classes": "gone.txt"}, "'gone.txt' is neither a file"),
        ({"classes": 4}, "classes: expected a list of names, or a file of them; got 4"),
        ({"classes": {"grass": 0}}, "expected a list of names, or a file of them; got {'grass': 0}"),
        ({"vocabulary": True}, "vocabulary: expected a list of names"),
        ({"name": ["own"]}, r"name must be text, got \['own'\]"),
        ({"images": {"a": 1}}, "images must be text"),
        ({"labels": 3}, "labels must be text, got 3"),
        ({"ignore_label": -1}, "ignore_label must be a value of 8 or 16 bits, got -1"),
        ({"ignore_label": 10**6}, "ignore_label must be a value of 8 or 16 bits, got 1000000"),
    ],
)
def test_wrong_entries_are_explained(folder, changes, message):
    with pytest.raises(ValueError, match=message):
        read_custom([entry(folder, **changes)])


def test_missing_folders_and_files(folder):
    cfg = load_config(None, ["DATASETS.CUSTOM", [entry(folder, name="own_gone", images="gone")]])
    register_custom(cfg)  # a trained model needs the names alone
    with pytest.raises(NotPreparedError, match=r"data set own_gone is missing: no folder of images .*gone"):
        build_test_loader(cfg, "own_gone")
    with pytest.raises(FileNotFoundError, match=r"DATASETS.CUSTOM\[0\]: no file gone.yaml"):
        read_custom(["gone.yaml"])
    with pytest.raises(ValueError, match=r"DATASETS.CUSTOM\[0\]: expected a mapping"):
        read_custom([3])
    with pytest.raises(ValueError, match="names own more than once"):
        read_custom([entry(folder), entry(folder)])


def test_half_a_folder_is_noticed(folder):
    (folder / "images" / "i1.jpg").unlink()
    cfg = load_config(None, ["DATASETS.CUSTOM", [entry(folder, name="own_half")], "DATASETS.TRAIN", ("own_half",)])
    with pytest.raises(FileNotFoundError, match=r"1 of 4 label maps have no image in .*: i1"):
        next(itertools.islice(build_train_loader(cfg), 1))
