"""Images that a caller hands over as arrays: RGB, uint8, (H, W, 3)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_READ_HINT = "physseg.data.images.read_image(path) reads files in the right form"


def as_image_list(images: np.ndarray | Sequence[np.ndarray]) -> tuple[list[np.ndarray], bool]:
    """One image or a list of them -> a list, and whether it was one.

    Raises:
        TypeError, ValueError: as `check_image`; or a batch array (B, H, W, 3).
    """
    if isinstance(images, list | tuple):
        return [check_image(image, f"image {index}") for index, image in enumerate(images)], False
    return [check_image(images)], True


def check_image(image: np.ndarray, name: str = "the image") -> np.ndarray:
    """Return the image after checking that it is uint8 (H, W, 3).

    Nothing in an array tells RGB from OpenCV's BGR: that remains with the caller (``image[..., ::-1]`` swaps them).

    Args:
        name: what messages call it.

    Raises:
        TypeError: it is no array, or not of uint8.
        ValueError: it has another shape, or no pixels.
    """
    if not isinstance(image, np.ndarray):
        kind = f"{type(image).__module__.split('.')[0]}.{type(image).__name__}"
        raise TypeError(
            f"{name}: expected a NumPy array, RGB uint8 (H, W, 3), got {kind}; {_READ_HINT}, and "
            "np.asarray(image.convert('RGB')) turns a Pillow image into one"
        )
    if image.dtype != np.uint8:
        advice = "convert it with .astype(np.uint8)"
        if image.dtype.kind == "f":
            # NaN compares false: such an image gets the advice for 0-255.
            scale = "values in 0-1 times 255" if image.size and image.max() <= 1 else "values in 0-255"
            advice = f"{scale}: round and convert with .astype(np.uint8), before any normalisation"
        raise TypeError(f"{name}: expected uint8 values 0-255, got {image.dtype}; {advice}")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"{name}: expected shape (H, W, 3), got {image.shape}{_shape_advice(image.shape)}")
    return image


def to_tensor(image: np.ndarray) -> Tensor:
    """uint8 (H, W, 3) array -> uint8 (3, H, W) tensor of its own memory."""
    # Views with negative strides (BGR swapped to RGB) cannot become tensors.
    return torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C"))


def _shape_advice(shape: tuple[int, ...]) -> str:
    if 0 in shape:
        return ": it has no pixels"
    if len(shape) == 4 and shape[3] == 3:
        return "; for several images give a list: list(images)"
    if len(shape) == 2:
        return "; repeat a gray image over three channels: np.repeat(image[..., None], 3, axis=2)"
    if len(shape) == 3 and shape[0] == 3:
        return "; channels come last: image.transpose(1, 2, 0)"
    if len(shape) == 3 and shape[2] == 4:
        return "; drop the alpha channel: image[..., :3]"
    return f"; {_READ_HINT}"
