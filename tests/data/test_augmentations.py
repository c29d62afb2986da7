import colorsys

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T

from physseg.config import load_config
from physseg.data.augmentations import (
    AlignedResizeTransform,
    ResizeShortestEdge,
    SSDColorAugmentation,
    SSDColorTransform,
    build_training_augmentations,
    nearest_centres,
    nearest_corners,
)


@pytest.mark.parametrize(("source", "target"), [(480, 384), (5, 9), (640, 512), (7, 7), (3, 1)])
def test_labels_take_the_pixel_under_the_centre(source, target):
    want = torch.nn.functional.interpolate(
        torch.arange(source, dtype=torch.float64).view(1, 1, 1, -1), size=(1, target), mode="nearest-exact"
    )
    np.testing.assert_array_equal(nearest_centres(source, target), want.flatten().long().numpy())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_every_dtype_of_labels_is_resized_alike(dtype):
    labels = np.random.default_rng(0).integers(0, 200, (47, 63)).astype(dtype)
    resized = AlignedResizeTransform(47, 63, 30, 40).apply_segmentation(labels)
    assert resized.dtype == dtype
    # Detectron2's own way for uint8; odd over even sizes have no ties.
    np.testing.assert_array_equal(
        resized, T.ResizeTransform(47, 63, 30, 40).apply_segmentation(labels.astype(np.uint8))
    )


def test_shortest_edge():
    image = np.zeros((100, 160, 3), dtype=np.uint8)
    assert ResizeShortestEdge([50, 50], 1000).get_transform(image).apply_image(image).shape == (50, 80, 3)
    assert ResizeShortestEdge([50, 50], 60).get_transform(image).apply_image(image).shape == (38, 60, 3)


def test_brightness_and_contrast_clip():
    image = np.array([[[0, 100, 250]]], dtype=np.uint8)
    np.testing.assert_array_equal(SSDColorTransform(brightness=10.5).apply_image(image), [[[10, 110, 255]]])
    np.testing.assert_array_equal(SSDColorTransform(brightness=-20.0).apply_image(image), [[[0, 80, 230]]])
    np.testing.assert_array_equal(SSDColorTransform(contrast=1.25).apply_image(image), [[[0, 125, 255]]])
    assert SSDColorTransform().apply_image(image) is image


def test_hue_turns_red_towards_yellow():
    image = np.array([[[200, 40, 40]]], dtype=np.uint8)
    turned = SSDColorTransform(hue=15).apply_image(image)[0, 0] / 255
    hue, saturation, value = colorsys.rgb_to_hsv(*turned)
    assert hue == pytest.approx(30 / 360, abs=0.01)
    assert (saturation, value) == (pytest.approx(0.8, abs=0.01), pytest.approx(200 / 255, abs=0.01))
    # -15 wraps round.
    hue, _, _ = colorsys.rgb_to_hsv(*(SSDColorTransform(hue=-15).apply_image(image)[0, 0] / 255))
    assert hue == pytest.approx(330 / 360, abs=0.01)


def test_saturation_scales():
    image = np.array([[[200, 100, 100]]], dtype=np.uint8)
    changed = SSDColorTransform(saturation=0.5).apply_image(image)[0, 0]
    np.testing.assert_allclose(changed, [200, 150, 150], atol=2)


def test_order_of_contrast_matters():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    first = SSDColorTransform(contrast=1.5, saturation=1.4).apply_image(image)
    last = SSDColorTransform(contrast=1.5, saturation=1.4, contrast_last=True).apply_image(image)
    assert (first != last).any()


def test_draws_stay_in_range_and_labels_are_left_alone():
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    drawn = [SSDColorAugmentation().get_transform(image) for _ in range(400)]
    for name, low, high in (
        ("brightness", -32, 32),
        ("contrast", 0.5, 1.5),
        ("saturation", 0.5, 1.5),
        ("hue", -18, 18),
    ):
        values = [getattr(transform, name) for transform in drawn]
        used = [value for value in values if value is not None]
        assert 150 < len(used) < 250
        assert low <= min(used) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(used) <= high
    labels = np.eye(2, dtype=np.uint8)
    assert drawn[0].apply_segmentation(labels) is labels


@pytest.mark.parametrize(("source", "target"), [(480, 384), (427, 384), (333, 384), (640, 513), (7, 20), (384, 384)])
def test_corners_are_those_of_pytorchs_nearest(source, target):
    ramp = torch.arange(source, dtype=torch.float64).view(1, 1, 1, -1)
    want = torch.nn.functional.interpolate(ramp, size=(1, target), mode="nearest").flatten().long().numpy()
    np.testing.assert_array_equal(nearest_corners(source, target), want)


def test_the_published_label_rule_is_detectron2s_for_other_types_than_uint8():
    cfg = load_config(None, ["INPUT.LABEL_RESIZE", "corner", "INPUT.MIN_SIZE_TRAIN", [30]])
    resize = build_training_augmentations(cfg, 255)[0].get_transform(np.zeros((47, 63, 3), np.uint8))
    labels = np.random.RandomState(0).randint(0, 171, (47, 63)).astype(np.float64)
    published = T.ResizeTransform(47, 63, resize.new_h, resize.new_w, resize.interp).apply_segmentation(labels)
    np.testing.assert_array_equal(resize.apply_segmentation(labels), published)
    ours = AlignedResizeTransform(47, 63, resize.new_h, resize.new_w).apply_segmentation(labels)
    assert (ours != published).mean() > 0.5


def test_recipe():
    cfg = load_config(None)
    names = [type(augmentation).__name__ for augmentation in build_training_augmentations(cfg, 255)]
    assert names == [
        "ResizeShortestEdge", "RandomCrop_CategoryAreaConstraint", "SSDColorAugmentation", "RandomFlip"
    ]  # fmt: skip
    cfg.INPUT.CROP.ENABLED = cfg.INPUT.COLOR_AUG_SSD = False
    cfg.INPUT.RANDOM_FLIP = "none"
    assert len(build_training_augmentations(cfg, 255)) == 1


@pytest.mark.parametrize(("key", "value"), [("INPUT.CROP.TYPE", "square"), ("INPUT.RANDOM_FLIP", "diagonal")])
def test_wrong_values_name_the_key(key, value):
    with pytest.raises(ValueError, match=f"{key} must be .* got '{value}'"):
        build_training_augmentations(load_config(None, [key, value]), 255)
