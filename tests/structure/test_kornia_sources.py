"""Canny and Sobel on the model's device, against OpenCV's."""

import sys

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut, chelsea, coffee

from physseg.structure.canny import canny_map
from physseg.structure.kornia_sources import KorniaCannySource, SobelSource, blur
from physseg.structure.options import CannyOptions, SobelOptions

pytest.importorskip("kornia")


def picture(photo):
    return np.ascontiguousarray(photo()[:256, :320])


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)


@pytest.mark.parametrize("photo", [astronaut, chelsea, coffee])
def test_the_same_edges_on_the_same_blurred_image(photo):
    image = cv2.GaussianBlur(cv2.cvtColor(picture(photo), cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    expected = cv2.Canny(image, 50, 150, L2gradient=True) > 0
    grey = torch.from_numpy(image).expand(3, -1, -1)
    (found,) = KorniaCannySource(CannyOptions(sigma=0.0))([grey])
    assert found.dtype == torch.uint8
    assert expected.any()
    assert (found.numpy() != expected).sum() <= 0.001 * expected.sum()


@pytest.mark.parametrize("photo", [astronaut, chelsea, coffee])
def test_the_blur_is_opencvs_up_to_one_grey_value(photo):
    image = picture(photo)
    expected = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.0).astype(int)
    found = blur(tensor(image)[None], 1.0)[0].numpy()
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.02


@pytest.mark.parametrize("options", [CannyOptions(), CannyOptions(median_spread=0.33), CannyOptions((20.0, 60.0))])
def test_nearly_all_edges_are_opencvs(options):
    image = picture(astronaut)
    expected = canny_map(image, options)
    found = KorniaCannySource(options)([tensor(image)])[0].numpy()
    assert 2 * (expected & found).sum() / (expected.sum() + found.sum()) > 0.98  # F1, pixel on pixel


def test_a_batch_of_mixed_sizes_equals_image_by_image():
    generator = torch.Generator().manual_seed(0)
    sizes = ((40, 48), (33, 40), (40, 48))
    images = [torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8) for size in sizes]
    for source in (KorniaCannySource(CannyOptions(median_spread=0.3)), SobelSource(SobelOptions())):
        for together, image in zip(source(images), images, strict=True):
            assert torch.equal(together, source([image])[0])


def test_a_flat_image_has_no_edges():
    flat = torch.full((3, 32, 32), 90, dtype=torch.uint8)
    assert not KorniaCannySource(CannyOptions(thresholds=(0.0, 0.0)))([flat])[0].any()
    assert not SobelSource(SobelOptions())([flat])[0].any()


def test_sobel_of_a_step_by_hand():
    """A step of 20 grey values has a Sobel gradient of 4 * 20 on both of its sides."""
    image = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    image[:, :, 8:] = 120
    (found,) = SobelSource(SobelOptions(sigma=0.0, saturation=160.0))([image])
    assert found.dtype == torch.float32
    expected = torch.zeros(16, 16)
    expected[:, 7:9] = 80 / 160
    torch.testing.assert_close(found, expected)
    (saturated,) = SobelSource(SobelOptions(sigma=0.0, saturation=40.0))([image])
    assert saturated.max() == 1


def test_sobel_is_opencvs_gradient():
    image = picture(chelsea)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    parts = [cv2.Sobel(grey, cv2.CV_32F, *order, borderType=cv2.BORDER_REPLICATE) for order in ((1, 0), (0, 1))]
    expected = np.minimum(np.hypot(*parts) / 150, 1)
    found = SobelSource(SobelOptions(sigma=0.0))([torch.from_numpy(grey).expand(3, -1, -1)])[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_missing_kornia_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia.filters", None)
    with pytest.raises(ImportError, match=r"need kornia: run `pip install '\.\[kornia\]'`"):
        SobelSource(SobelOptions())([torch.zeros(3, 8, 8)])
