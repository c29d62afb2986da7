"""In the data workers: maps belong to the very crop that the network sees."""

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from PIL import Image

from physseg.data.augmentations import ResizeShortestEdge, SSDColorAugmentation
from physseg.data.mapper import TrainingMapper
from physseg.structure import StructureOptions
from physseg.structure.canny import canny_map
from physseg.structure.edge_gt import edge_gt_map
from physseg.structure.maps import write_map


@pytest.fixture
def record(tmp_path, monkeypatch) -> dict:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 3, (10, 14), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    blocks[:8, :8] = 255
    colours = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    Image.fromarray(colours[blocks]).save(tmp_path / "image.png")
    Image.fromarray(blocks).save(tmp_path / "labels.png")
    return {"file_name": str(tmp_path / "image.png"), "sem_seg_file_name": str(tmp_path / "labels.png")}


def mapper(structure: StructureOptions, augmentations) -> TrainingMapper:
    return TrainingMapper(
        augmentations,
        dataset="test",
        num_classes=3,
        ignore_label=255,
        ignore_value=200,
        pad_to=(64, 64),
        structure=structure,
    )


def test_maps_are_those_of_the_augmented_crop(record):
    augmentations = [ResizeShortestEdge([70, 70], 200), T.RandomCrop("absolute", (64, 64)), T.RandomFlip()]
    sample = mapper(StructureOptions(("canny", "edge_gt")), [*augmentations, SSDColorAugmentation()])(record)
    options = StructureOptions()
    image, labels = sample["image"].permute(1, 2, 0).numpy(), sample["sem_seg"].numpy()
    assert sample["structure"].dtype == torch.uint8
    assert np.array_equal(sample["structure"][0], canny_map(np.ascontiguousarray(image), options.canny))
    assert np.array_equal(sample["structure"][1], edge_gt_map(labels, 200, options.edge_gt))
    assert sample["structure"][0].any()


def test_padding_and_its_border_are_no_structure(record):
    sample = mapper(StructureOptions(("canny", "sift", "edge_gt")), [ResizeShortestEdge([40, 40], 60)])(record)
    height, width = 40, 56
    assert sample["structure"].shape == (3, 64, 64)
    assert not sample["structure"][:, height:].any()
    assert not sample["structure"][:, :, width:].any()
    crop = np.ascontiguousarray(sample["image"][:, :height, :width].permute(1, 2, 0).numpy())
    assert np.array_equal(sample["structure"][0, :height, :width], canny_map(crop, StructureOptions().canny))


def test_ready_maps_move_with_their_image(record, tmp_path):
    """The ready map is the image's own dark area, so it must lie there after crop and flip too."""
    with Image.open(record["sem_seg_file_name"]) as labels:
        ones = np.array(labels) == 1
    write_map(tmp_path / "maps" / "superpoint" / "image.png.png", ones)
    options = StructureOptions(("superpoint",), maps_root=str(tmp_path / "maps"), maps_sources=("superpoint",))
    sample = mapper(options, [T.RandomCrop("absolute", (64, 64)), T.RandomFlip(prob=1.0)])(record)
    assert torch.equal(sample["structure"][0].bool(), sample["sem_seg"] == 1)
    assert sample["structure"].any()
