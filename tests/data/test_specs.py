from pathlib import Path

import pytest

from physseg.data.raw_formats import FORMATS
from physseg.data.specs import (
    CLIP_ALONE,
    REAL,
    TOY,
    TOY_CLIP_ALONE,
    all_specs,
    datasets_root,
    find_spec,
    get_spec,
    names_sha256,
)


def test_columns_are_in_the_papers_order():
    assert [get_spec(key).title for key in REAL] == ["A-847", "PC-459", "A-150", "PC-59", "PAS-20", "PAS-20b"]
    assert [get_spec(key).base for key in TOY] == [f"toy_world/{get_spec(key).base}" for key in REAL]


@pytest.mark.parametrize(
    ("key", "name", "labels", "ignore", "images"),
    [
        ("coco_stuff", "coco_2017_train_stuff_all_sem_seg", "coco-stuff/annotations_detectron2/train2017", 255, 118287),
        ("coco_stuff_val", "coco_2017_test_stuff_all_sem_seg", "coco-stuff/annotations_detectron2/val2017", 255, 5000),
        ("a150", "ade20k_150_test_sem_seg", "ADEChallengeData2016/annotations_detectron2/validation", 255, 2000),
        (
            "a847",
            "ade20k_full_sem_seg_freq_val_all",
            "ADE20K_2021_17_01/annotations_detectron2/validation",
            65535,
            2000,
        ),
        ("pc59", "context_59_test_sem_seg", "VOCdevkit/VOC2010/annotations_detectron2/pc59_val", 255, 5104),
        ("pc459", "context_459_test_sem_seg", "VOCdevkit/VOC2010/annotations_detectron2/pc459_val", 65535, 5104),
        ("pas20", "voc_2012_test_sem_seg", "VOCdevkit/VOC2012/annotations_detectron2/val", 255, 1449),
        ("pas20b", "voc_2012_test_background_sem_seg", "VOCdevkit/VOC2012/annotations_detectron2_bg/val", 255, 1449),
    ],
)
def test_names_and_folders_are_cat_segs(key, name, labels, ignore, images):
    spec = get_spec(key)
    assert spec is get_spec(name)
    assert (spec.registered_name, spec.label_root, spec.ignore_label, spec.num_images) == (name, labels, ignore, images)


def test_every_row_is_consistent():
    specs = all_specs()
    assert len({spec.registered_name for spec in specs}) == len({spec.key for spec in specs}) == len(specs)
    for spec in specs:
        assert len(spec.raw_ids) == len(spec.classes)
        assert len(set(spec.raw_ids)) == len(spec.raw_ids)
        assert not set(spec.raw_ids) & set(spec.raw_void)
        assert not 0 <= spec.ignore_label < len(spec.classes)
        assert spec.raw_format in FORMATS
        assert (Path(__file__).parents[2] / "datasets" / spec.script).is_file()
        assert spec.label_ext == (".tif" if spec.ignore_label > 255 else ".png")


@pytest.mark.parametrize("prefix", ["", "toy_"])
def test_background_prompts_fold_into_one_last_class(prefix):
    spec, plain = get_spec(f"{prefix}pas20b"), get_spec(f"{prefix}pas20")
    assert spec.fold_from == len(plain.classes) == len(spec.classes) - 1
    assert spec.classes == (*plain.classes, "background")
    assert spec.vocabulary[: spec.fold_from] == plain.classes
    assert "background" not in spec.vocabulary
    assert sorted(spec.vocabulary) == sorted(get_spec(f"{prefix}pc59").vocabulary)
    assert spec.raw_ids[-1] == 0


def test_all_but_pas20b_are_prompted_with_their_classes():
    prompted = (spec for spec in all_specs() if spec.fold_from is None and spec.background is None)
    assert all(spec.classes == spec.vocabulary for spec in prompted)


def test_a_background_class_comes_first_and_is_a_list_of_words():
    specs = [spec for spec in all_specs() if spec.background is not None]
    assert [spec.key for spec in specs] == ["voc21", "pc60", "coco_object", *TOY_CLIP_ALONE]
    for spec in specs:
        assert spec.background == 0
        assert spec.classes[0] == "background"
        assert spec.classes[1:] == spec.vocabulary[1:]
    words = {spec.key: spec.vocabulary[0].split(", ") for spec in specs}
    # Published codes have 26 words for VOC-21 and COCO-Object, and the word itself for Context-60.
    assert (len(words["voc21"]), len(words["coco_object"]), words["pc60"]) == (26, 26, ["background"])
    assert set(words["voc21"]).isdisjoint(get_spec("voc21").classes)


def test_sizes_of_the_training_free_benchmarks():
    sizes = {key: (len(get_spec(key).classes), get_spec(key).num_images) for key in CLIP_ALONE}
    assert sizes == {
        "voc21": (21, 1449), "pc60": (60, 5104), "coco_object": (81, 5000), "pas20": (20, 1449),
        "cityscapes": (19, 500), "pc59": (59, 5104), "a150": (150, 2000), "coco_stuff_val": (171, 5000),
    }  # fmt: skip


def test_unknown_names_are_listed():
    assert find_spec("a151") is None
    with pytest.raises(KeyError, match=r"no data set 'a151'.*a847"):
        get_spec("a151")


def test_root_comes_from_the_argument_then_the_environment(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/data")
    assert datasets_root() == Path.home() / "data"
    assert datasets_root("x") == Path("x")
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert datasets_root() == Path("datasets")


def test_hash_of_a_list_ignores_its_order():
    # printf 'a\nb\n' | sha256sum
    assert names_sha256(["b", "a"]) == "911169ddaaf146aff539f58c26c489af3b892dff0fe283c1c264c65ae5aa59a2"


def test_readme_lists_every_set():
    text = (Path(__file__).parents[2] / "datasets" / "README.md").read_text()
    for spec in all_specs():
        if spec.is_toy:
            continue
        (row,) = [line for line in text.splitlines() if f"`{spec.key}`" in line and line.startswith("|")]
        for part in (
            spec.registered_name,
            f"{len(spec.classes)} classes",
            str(spec.ignore_label),
            f"{spec.num_images:,}",
        ):
            assert part in row
        assert spec.script in text
