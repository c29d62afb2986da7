from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from PIL import Image

from physseg.config import load_config
from physseg.data.augmentations import ResizeShortestEdge
from physseg.data.images import BrokenFileError
from physseg.data.mapper import TestMapper, TrainingMapper
from physseg.data.registration import register_all


@pytest.fixture
def record(tmp_path, raw):
    raw.save_image(tmp_path / "a.png", 4, 6)
    raw.save_index(tmp_path / "labels" / "a.png", [[0, 1, 2, 255, 0, 0]] + [[1] * 6] * 3)
    return {"file_name": str(tmp_path / "a.png"), "sem_seg_file_name": str(tmp_path / "labels/a.png")}


def mapper(augmentations=(), **changes):
    options = {"dataset": "mine", "num_classes": 3, "ignore_label": 255, "ignore_value": 255} | changes
    return TrainingMapper(list(augmentations), **options)


def test_sample_without_augmentation(record):
    sample = mapper()(record)
    image = np.array(Image.open(record["file_name"]))
    assert sample["image"].dtype == torch.uint8
    np.testing.assert_array_equal(sample["image"].numpy(), image.transpose(2, 0, 1))
    assert sample["sem_seg"].dtype == torch.int64
    assert sample["sem_seg"][0].tolist() == [0, 1, 2, 255, 0, 0]
    assert (sample["height"], sample["width"]) == (4, 6)
    assert sample["file_name"] == record["file_name"]
    assert "structure" not in sample
    assert "image" not in record


def test_padding_is_right_and_below(record):
    sample = mapper(pad_to=(5, 8), ignore_value=7)(record)
    assert sample["image"].shape == (3, 5, 8)
    assert (sample["image"][:, 4:] == 128).all()
    assert (sample["image"][:, :, 6:] == 128).all()
    assert (sample["sem_seg"][4:] == 7).all()
    assert (sample["sem_seg"][:, 6:] == 7).all()
    assert sample["sem_seg"][0].tolist() == [0, 1, 2, 7, 0, 0, 7, 7]


def test_flip_and_crop_move_labels_with_the_image(record):
    sample = mapper([T.RandomFlip(prob=1.0), T.RandomCrop("absolute", (4, 6))])(record)
    image = np.array(Image.open(record["file_name"]))
    np.testing.assert_array_equal(sample["image"].numpy(), image[:, ::-1].transpose(2, 0, 1))
    assert sample["sem_seg"][0].tolist() == [0, 0, 255, 2, 1, 0]


def test_classes_255_and_256_survive_16_bits(tmp_path, raw):
    raw.save_image(tmp_path / "a.png", 2, 4)
    raw.save_index(tmp_path / "a.tif", [[0, 254, 255, 256], [846, 65535, 300, 1]], np.uint16)
    record = {"file_name": str(tmp_path / "a.png"), "sem_seg_file_name": str(tmp_path / "a.tif")}
    wide = mapper([T.RandomFlip(prob=1.0)], num_classes=847, ignore_label=65535, ignore_value=65535)
    assert wide(record)["sem_seg"].tolist() == [[256, 255, 254, 0], [1, 300, 65535, 846]]


def test_ignore_value_must_not_be_a_class():
    with pytest.raises(ValueError, match=r"MODEL.SEM_SEG_HEAD.IGNORE_VALUE is 255, which is a class index of mine"):
        mapper(num_classes=847, ignore_label=65535)


def test_label_outside_the_vocabulary_names_file_value_and_key(record, raw):
    raw.save_index(Path(record["sem_seg_file_name"]), [[3] * 6] * 4)
    with pytest.raises(
        ValueError, match=r"labels/a.png holds \[3\]; expected 0 to 2, or 255 .*mine \(DATASETS.TRAIN\)"
    ):
        mapper()(record)


def test_other_size_and_unreadable_files_are_named(tmp_path, record, raw):
    raw.save_image(tmp_path / "b.png", 6, 4)
    with pytest.raises(ValueError, match=r"label map .*a.png is 6x4, its image .*b.png 4x6"):
        mapper()(record | {"file_name": str(tmp_path / "b.png")})
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(BrokenFileError, match=r"c.jpg"):
        mapper()(record | {"file_name": str(tmp_path / "c.jpg")})


def test_exif_turned_image_fits_a_label_map_drawn_over_it(tmp_path, raw):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4), (9, 9, 9)).save(tmp_path / "a.png", exif=exif)
    raw.save_index(tmp_path / "l.png", np.zeros((6, 4)))
    sample = mapper()({"file_name": str(tmp_path / "a.png"), "sem_seg_file_name": str(tmp_path / "l.png")})
    assert sample["image"].shape == (3, 6, 4)


def test_structure_is_computed_on_the_crop_and_not_in_the_padding(record):
    from physseg.structure import StructureOptions

    sample = mapper(pad_to=(6, 8), structure=StructureOptions(sources=("edge_gt", "canny")))(record)
    assert sample["structure"].dtype == torch.uint8
    assert sample["structure"].shape == (2, 6, 8)
    assert (sample["structure"][:, 4:] == 0).all()
    assert (sample["structure"][:, :, 6:] == 0).all()
    # Boundaries of the label map: row 0 is 0 1 2 ignored 0 0 over a row of ones; pixel (0, 3) is ignored.
    assert sample["structure"][0, 0, :6].tolist() == [1, 1, 1, 0, 1, 1]
    assert sample["structure"][0, 1, :6].tolist() == [1, 0, 1, 0, 1, 1]


def test_training_mapper_from_config(record):
    register_all()
    cfg = load_config(None, ["MODEL.STRUCTURE.ENABLED", True])
    from_config = TrainingMapper(cfg)
    assert (from_config.num_classes, from_config.ignore_label, from_config.pad_to) == (171, 255, (384, 384))
    sample = from_config(record)
    assert sample["image"].shape == (3, 384, 384)
    assert sample["sem_seg"].shape == (384, 384)
    assert sample["structure"].shape == (1, 384, 384)


def test_training_sets_must_agree():
    register_all()
    cfg = load_config(None, ["DATASETS.TRAIN", ("voc_2012_test_sem_seg", "context_59_test_sem_seg")])
    with pytest.raises(ValueError, match="context_59_test_sem_seg and voc_2012_test_sem_seg differ in classes"):
        TrainingMapper(cfg)
    with pytest.raises(ValueError, match=r"DATASETS.TRAIN: nowhere is not registered"):
        TrainingMapper(load_config(None, ["DATASETS.TRAIN", ("nowhere",)]))
    with pytest.raises(ValueError, match=r"DATASETS.TRAIN is empty"):
        TrainingMapper(load_config(None, ["DATASETS.TRAIN", ()]))


def test_test_mapper(record):
    sample = TestMapper(ResizeShortestEdge([8, 8], 100), vocabulary=["a", "b"])(record)
    assert sample["image"].shape == (3, 8, 12)
    assert sample["image"].dtype == torch.uint8
    assert (sample["height"], sample["width"], sample["output"]) == (4, 6, "labels")
    assert sample["vocabulary"] == ["a", "b"]
    register_all()
    from_config = TestMapper(load_config(None), "voc_2012_test_background_sem_seg")
    assert len(from_config.vocabulary) == 59
    assert from_config(record)["image"].shape == (3, 640, 960)
