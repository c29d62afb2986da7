"""Canny, SIFT and EdgeGT on drawn shapes whose structures are known."""

import cv2
import numpy as np
import pytest
import torch

from physseg.structure import StructureOptions, make_structure_maps, max_pool_to
from physseg.structure.canny import canny_map
from physseg.structure.discs import disc, draw_discs
from physseg.structure.edge_gt import edge_gt_map
from physseg.structure.options import CannyOptions, EdgeGtOptions, SiftOptions
from physseg.structure.sift import sift_map

IGNORE = 255


def square(background: int = 40, foreground: int = 220) -> np.ndarray:
    """Grey 64x64 image with a brighter square over rows and columns 20..43."""
    image = np.full((64, 64, 3), background, np.uint8)
    image[20:44, 20:44] = foreground
    return image


def ring(inner: int, outer: int) -> np.ndarray:
    """True within ``outer`` pixels outside and ``inner`` pixels inside the square's border."""
    area = np.zeros((64, 64), bool)
    area[20 - outer : 44 + outer, 20 - outer : 44 + outer] = True
    area[20 + inner : 44 - inner, 20 + inner : 44 - inner] = False
    return area


def test_canny_finds_the_border_of_a_square_and_nothing_else():
    edges = canny_map(square(), CannyOptions())
    assert edges.dtype == np.uint8
    assert set(np.unique(edges)) == {0, 1}
    assert not edges[~ring(2, 2)].any()
    assert edges[18:22, 26:38].any(axis=0).all()  # every column of the upper side away from the corners
    assert edges[26:38, 42:46].any(axis=1).all()  # every row of the right side


def test_canny_thresholds_count():
    assert not canny_map(square(100, 110), CannyOptions(thresholds=(100, 200))).any()
    assert canny_map(square(100, 110), CannyOptions(thresholds=(5, 10))).any()


def test_canny_thresholds_from_the_median():
    """Median 12: thresholds about 8 and 16, under the square's edge; median 100: 67 and 133, over it."""
    automatic = CannyOptions(median_spread=0.33)
    assert canny_map(square(12, 22), automatic).any()
    assert not canny_map(square(100, 110), automatic).any()


def test_canny_grey_weighs_the_colours_as_bt601():
    """Red 100 and green 51 have the same grey, 30: no edge between them."""
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :16, 0], image[:, 16:, 1] = 100, 51
    assert not canny_map(image, CannyOptions(thresholds=(10, 20))).any()


def test_sift_marks_a_blob_and_not_the_flat_background():
    image = np.full((64, 64, 3), 40, np.uint8)
    cv2.circle(image, (40, 24), 4, (220, 220, 220), -1)
    points = sift_map(image, SiftOptions())
    y, x = np.nonzero(points)
    assert len(y) > 0
    assert np.abs(y - 24).max() <= 8
    assert np.abs(x - 40).max() <= 8
    assert points[24, 40] == 1


def test_sift_filters_by_response_and_size():
    image = np.full((64, 64, 3), 40, np.uint8)
    cv2.circle(image, (40, 24), 4, (220, 220, 220), -1)
    assert not sift_map(image, SiftOptions(min_response=1.0)).any()
    assert not sift_map(image, SiftOptions(max_size=1.0, min_size=0.0)).any()
    assert not sift_map(image, SiftOptions(min_size=100.0, max_size=200.0)).any()
    assert sift_map(image, SiftOptions(radius=4)).sum() > sift_map(image, SiftOptions(radius=1)).sum()


def test_sift_of_a_flat_image_is_empty():
    assert not sift_map(np.full((32, 32, 3), 90, np.uint8), SiftOptions()).any()


def test_discs():
    assert disc(0).tolist() == [[1]]
    assert disc(1).tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    drawn = draw_discs(np.array([[1.2, 0.4], [4.6, 2.0], [-3.0, 1.0]]), 4, 6, 1)
    assert drawn.tolist() == [[1, 1, 1, 0, 0, 0], [0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1]]


def test_edge_gt_marks_both_sides_of_a_boundary_but_not_that_with_ignore():
    labels = np.array([[0, 0, 1, 1], [0, 0, 1, IGNORE], [2, 2, IGNORE, IGNORE]])
    expected = [[0, 1, 1, 0], [1, 1, 1, 0], [1, 1, 0, 0]]
    assert edge_gt_map(labels, IGNORE, EdgeGtOptions()).tolist() == expected


def test_edge_gt_width_grows_both_ways_and_stays_off_ignored_pixels():
    labels = np.array([[0] * 5 + [1] * 5] * 3)
    labels[:, 3] = IGNORE
    marked = edge_gt_map(labels, IGNORE, EdgeGtOptions(half_width=3))[1]
    assert marked.tolist() == [0, 0, 1, 0, 1, 1, 1, 1, 0, 0]
    assert edge_gt_map(labels, IGNORE, EdgeGtOptions(half_width=2))[1].tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0, 0]


def test_edge_gt_of_one_class_or_of_ignore_alone_is_empty():
    assert not edge_gt_map(np.zeros((4, 4), int), IGNORE, EdgeGtOptions()).any()
    assert not edge_gt_map(np.full((4, 4), IGNORE), IGNORE, EdgeGtOptions()).any()


def test_make_structure_maps_keeps_the_order_of_the_sources():
    labels = (square()[..., 0] > 100).astype(np.int64)
    maps = make_structure_maps(square(), labels, StructureOptions(("edge_gt", "superpoint", "canny")), IGNORE)
    assert maps.shape == (3, 64, 64)
    assert maps.dtype == np.uint8
    assert np.array_equal(maps[0], ring(1, 1) & ~corners())
    assert not maps[1].any()  # the model fills it
    assert np.array_equal(maps[2], canny_map(square(), CannyOptions()))


def corners() -> np.ndarray:
    """The four pixels outside the square that touch it by a corner alone."""
    area = np.zeros((64, 64), bool)
    area[[19, 19, 44, 44], [19, 44, 19, 44]] = True
    return area


def test_make_structure_maps_takes_ready_maps():
    ready = np.zeros((64, 64), np.uint8)
    ready[3, 4] = 1
    maps = make_structure_maps(square(), None, StructureOptions(("superpoint",)), IGNORE, {"superpoint": ready})
    assert np.array_equal(maps[0], ready)


def test_make_structure_maps_errors():
    options = StructureOptions(("edge_gt",))
    with pytest.raises(ValueError, match=r"'edge_gt' needs a label map of the image's size \(64, 64\); got None"):
        make_structure_maps(square(), None, options, IGNORE)
    with pytest.raises(ValueError, match=r"image must be uint8 \(H, W, 3\); got float64 \(4, 4, 3\)"):
        make_structure_maps(np.zeros((4, 4, 3)), None, options, IGNORE)
    with pytest.raises(ValueError, match=r"the map of 'edge_gt' must have the image's size \(64, 64\); got \(2, 2\)"):
        make_structure_maps(square(), None, options, IGNORE, {"edge_gt": np.zeros((2, 2), np.uint8)})


def test_max_pooling_keeps_the_thin_line_that_a_mean_or_nearest_loses():
    line = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    line[0, 0, 5] = 1
    assert max_pool_to(line, (2, 2)).tolist() == [[[[0, 0], [1, 1]]]]
    assert torch.nn.functional.adaptive_avg_pool2d(line.float(), 2).max() == 0.25
    assert torch.nn.functional.interpolate(line, size=2).max() == 0
