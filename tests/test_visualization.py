import numpy as np
import pytest

from physseg.visualization import UNLABELLED, beside, colourise, legend, overlay, palette, present_classes


def test_a_class_keeps_its_colour_whatever_the_vocabulary():
    np.testing.assert_array_equal(palette(5), palette(900)[:5])


def test_colours_differ_and_neighbours_clearly():
    colours = palette(847).astype(int)
    assert len(np.unique(colours, axis=0)) > 800
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 60
    first = colours[:20]
    distances = np.abs(first[:, None] - first[None]).sum(axis=2) + 999 * np.eye(20, dtype=int)
    assert distances.min() > 60


def test_the_shared_palette_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        palette(3)[0] = 0


def test_values_that_are_no_class_are_gray():
    painted = colourise(np.array([[0, 255, -1]]), 2)
    assert painted.tolist() == [[list(palette(2)[0]), list(UNLABELLED), list(UNLABELLED)]]


def test_overlay_mixes_classes_and_leaves_the_rest():
    image = np.full((2, 4, 3), 100, np.uint8)
    labels = np.array([[0, 0, 255, 255]] * 2)
    mixed = overlay(image, labels, ["cat"], alpha=0.25, contours=False, show_legend=False)
    np.testing.assert_array_equal(mixed[:, 2:], image[:, 2:])
    np.testing.assert_array_equal(mixed[0, 0], np.round(75 + 0.25 * palette(1)[0]))
    assert (image == 100).all()


def test_contours_are_white():
    labels = np.array([[0, 0, 1, 1]] * 2)
    mixed = overlay(np.zeros((2, 4, 3), np.uint8), labels, ["a", "b"], show_legend=False)
    assert (mixed[:, 2] == 255).all()
    assert (mixed[:, [0, 1, 3]] < 255).any(axis=2).all()


def test_legend_lists_classes_by_area_and_says_what_it_leaves_out():
    labels = np.array([[2, 2, 2, 1, 1, 0, 255]])
    assert present_classes(labels, 3) == [2, 1, 0]
    picture = legend(labels, ["a", "b, second synonym", "c"])
    assert (picture == palette(3)[2]).all(axis=2).any()
    # Two lines of classes and one that counts the rest are as high as three classes.
    many = np.arange(9)[None]
    assert legend(many, list("abcdefghi"), max_entries=2).shape[0] == picture.shape[0]


def test_legend_of_an_empty_map_is_a_picture():
    assert legend(np.full((2, 2), 255), ["a"]).dtype == np.uint8


def test_overlay_with_legend_is_wider():
    labels = np.array([[0, 1]] * 80)
    assert overlay(np.zeros((80, 2, 3), np.uint8), labels, ["élan", "b"]).shape[1] > 20


def test_pictures_beside_each_other():
    row = beside(np.zeros((2, 3, 3), np.uint8), np.zeros((4, 1, 3), np.uint8))
    assert row.shape == (4, 4, 3)
    assert (row[2:, :3] == 255).all()


@pytest.mark.parametrize(
    ("image", "labels", "alpha", "message"),
    [
        (np.zeros((2, 2, 3)), np.zeros((2, 2), int), 0.5, r"uint8 \(H, W, 3\) image, got float64"),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), int), 0.5, r"label map is \(2, 3\), the image \(2, 2\)"),
        (np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), int), 1.5, "alpha is 1.5"),
    ],
)
def test_bad_input(image, labels, alpha, message):
    with pytest.raises(ValueError, match=message):
        overlay(image, labels, ["a"], alpha=alpha)
