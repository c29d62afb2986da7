import multiprocessing

import cv2
import numpy as np

from physseg.data.processes import available_cores, stop_opencv_threads


def _blur(image):
    return cv2.GaussianBlur(image, (0, 0), 5)


def test_forked_children_can_use_opencv():
    image = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    cv2.setNumThreads(4)
    blurred = _blur(image)  # starts OpenCV's threads, which a child does not inherit
    stop_opencv_threads()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        result = pool.apply_async(_blur, (image,)).get(timeout=60)
    np.testing.assert_array_equal(result, blurred)


def test_cores():
    assert available_cores() >= 1
