"""Superpixels, and which of them a patch belongs to; SegCLIP's published numbers where they are at hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

from physseg.structure.superpixels import (
    SuperpixelOptions,
    felzenszwalb_superpixels,
    patch_superpixels,
    superpixel_target,
)
from tests.reference import golden

FILE = Path(__file__).resolve().parents[3] / "shared" / "golden_segclip" / "superpixels.npz"


@pytest.fixture
def reference():
    if not FILE.is_file():
        pytest.skip("reference numbers are not at hand")
    return np.load(FILE)


def test_majority_names_a_piece_that_is_there():
    pieces = np.array([[0, 0, 0, 4], [7, 7, 4, 4]])
    assert patch_superpixels(pieces, (1, 2)).tolist() == [[0, 4]]
    # (0 + 0 + 7 + 7) / 4 and (0 + 4 + 4 + 4) / 4: neither is a piece.
    assert patch_superpixels(pieces, (1, 2), "mean").tolist() == [[3, 3]]


def test_two_halves_are_two_superpixels():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 200
    options = SuperpixelOptions(scale=32, sigma=0.0, min_size=32, grid=(4, 4))
    target = superpixel_target(image, options)
    assert target.tolist() == [[0, 0, 1, 1]] * 4


@pytest.mark.parametrize(
    ("pieces", "grid", "rule", "message"),
    [
        (np.zeros((30, 32), int), (4, 4), "majority", "30x32 do not divide into a grid of 4x4"),
        (np.zeros((32, 32), int), (4, 4), "median", "MODEL.SEGCLIP.SUPERPIXELS.RULE"),
    ],
)
def test_what_does_not_fit_is_named(pieces, grid, rule, message):
    with pytest.raises(ValueError, match=message):
        patch_superpixels(pieces, grid, rule)


def test_without_scikit_image_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ImportError, match=r'pip install "physseg\[superpixels\]"'):
        felzenszwalb_superpixels(np.zeros((8, 8, 3), np.uint8), SuperpixelOptions())


def test_published_pieces(reference):
    image = golden.image(240, 320, seed=3).round().byte().permute(1, 2, 0).numpy()
    found = felzenszwalb_superpixels(image, SuperpixelOptions())
    assert (found[::2, ::2] == reference["felzenszwalb"]).all()


def test_published_patches(reference):
    """The loader's own way: a map cut by a crop's corners, enlarged, and the mean of the numbers in every patch."""
    y, x = np.mgrid[:90, :120]
    pieces = (y // 23) * 5 + x // 31
    for (left, top, right, bottom), expected in zip(reference["coord"], reference["patch_ids"], strict=True):
        rows = slice(int(top * 90), int(np.ceil(bottom * 90)))
        columns = slice(int(left * 120), int(np.ceil(right * 120)))
        cut = pieces[rows, columns]
        nearest = [np.arange(224) * side // 224 for side in cut.shape]
        found = patch_superpixels(cut[np.ix_(*nearest)], (14, 14), "mean")
        assert (found == expected).all()
