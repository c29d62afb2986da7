"""Purity of groups, by hand."""

import math

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from torch import nn

from physseg.evaluation.group_purity import count_pure, evaluate_group_purity, shuffled_patches
from physseg.modeling.sliding_window import plan_crops
from physseg.modeling.without_masks.group_segmenter import GroupedImage

IGNORE = 255


def test_the_most_frequent_class_of_each_group_counts():
    groups = torch.tensor([[0, 0, 0], [2, 2, 2]])
    labels = torch.tensor([[4, 4, 1], [1, IGNORE, 1]])
    # Group 0: two of three; group 2: two of two; group 1 has none.
    assert count_pure(groups, labels, IGNORE).tolist() == [4, 5, 2]
    assert count_pure(groups, torch.full((2, 3), IGNORE), IGNORE).tolist() == [0, 0, 0]


def test_shuffled_patches_are_the_same_patches_elsewhere():
    groups = torch.arange(6).view(2, 3).repeat_interleave(2, 0).repeat_interleave(2, 1)
    groups = nn.functional.pad(groups, (0, 1), value=9)  # a column that is no whole patch
    found = shuffled_patches(groups, 2, torch.Generator().manual_seed(1))
    assert (found[:, 6] == 9).all()
    patches = found[:, :6].unflatten(0, (2, 2)).unflatten(2, (3, 2)).transpose(1, 2).reshape(6, 4)
    assert (patches == patches[:, :1]).all()
    assert patches[:, 0].tolist() != list(range(6))
    assert sorted(patches[:, 0].tolist()) == list(range(6))


class Halves(nn.Module):
    """Groups 0 and 1 are the left and the right half of every window."""

    device, patch = torch.device("cpu"), 1

    def encode_image(self, x):
        plan = plan_crops(tuple(x["image"].shape[-2:]), 4, 4)
        pixels = torch.tensor([0, 0, 1, 1]).expand(len(plan.corners), 4, 4)
        return GroupedImage(torch.empty(0), torch.empty(0), pixels, plan, (4, 8), None)


def test_a_data_set(tmp_path):
    """Windows of 4x4 on a canvas of 4x8, from a label map of twice its size."""
    labels = np.kron([[0, 0, 0, 0, 1, 1, 1, 1]] * 3 + [[0, 0, 1, 1, 2, 1, 1, 2]], np.ones((2, 2))).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "a.png")
    name = f"purity_{tmp_path.name}"
    DatasetCatalog.register(name, lambda: [{"file_name": "a.jpg", "sem_seg_file_name": str(tmp_path / "a.png")}])
    MetadataCatalog.get(name).set(ignore_label=IGNORE)
    found = evaluate_group_purity(Halves(), [[{"file_name": "a.jpg", "image": torch.zeros(3, 4, 8)}]], name)
    # Left window: 8 and 6 of 8 and 8. Right: 7 of 8 twice.
    assert math.isclose(found["group_purity"], 100 * (8 + 6 + 7 + 7) / 32)
    assert found["groups_used"] == 2
    assert 100 * 26 / 32 <= found["group_purity_shuffled"] <= 100
