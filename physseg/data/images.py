"""Reading image and label files, whatever mode they are stored in.

Every failure names the file: a data set has 118,000 of them.
"""

import contextlib
import io
import os

import numpy as np
from PIL import Image, ImageOps

from physseg.paths import reason, special_kind

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
LABEL_EXTENSIONS = (".png", ".tif", ".tiff", ".bmp", ".gif")


class BrokenFileError(OSError):
    """A file that cannot be decoded, or whose content cannot be what it is used as. The message names it."""


def read_image(path: str | os.PathLike, orient: bool = True) -> np.ndarray:
    """Read an image as uint8 (H, W, 3) RGB.

    Grayscale is repeated over the channels; 16-bit grayscale keeps its upper 8 bits; transparent pixels are
    laid over white, as viewers show them; CMYK and palettes are converted.

    Args:
        path: any format Pillow knows.
        orient: turn the image as its EXIF orientation says (a label map drawn over the picture fits it then).

    Raises:
        FileNotFoundError: no such file.
        BrokenFileError: the file is truncated or no image.
    """
    try:
        _refuse_special(path)
        with Image.open(path) as image:
            return _decoded(image, orient)
    except FileNotFoundError:
        raise FileNotFoundError(f"no image {path}") from None
    except Exception as error:  # damage can surface anywhere in a decoder
        raise BrokenFileError(f"cannot read image {path}: {_reason(path, error)}") from error


def decode_image(data: bytes, name: str) -> np.ndarray:
    """`read_image` of an encoded image in memory.

    Args:
        name: what messages call it.

    Raises:
        BrokenFileError: it is truncated or no image.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _decoded(image, orient=True)
    except Exception as error:
        reason = "it is empty" if not data else str(error) or type(error).__name__
        raise BrokenFileError(f"cannot read image {name}: {reason}") from error


def read_label_map(path: str | os.PathLike) -> np.ndarray:
    """Read a label map as int32 (H, W): palette indices or gray values, 8 or 16 bit, as stored.

    Raises:
        FileNotFoundError: no such file.
        BrokenFileError: the file is truncated, no image, or has colour channels (a rendering, not indices).
    """
    try:
        _refuse_special(path)
        with Image.open(path) as image:
            if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
                raise BrokenFileError(
                    f"label map {path} has mode {image.mode}; expected one channel of class indices (8 or 16 bit "
                    "gray, or a palette), not a coloured rendering"
                )
            return np.array(image).astype(np.int32)
    except FileNotFoundError:
        raise FileNotFoundError(f"no label map {path}") from None
    except BrokenFileError:
        raise
    except Exception as error:  # damage can surface anywhere in a decoder
        raise BrokenFileError(f"cannot read label map {path}: {_reason(path, error)}") from error


def read_size(path: str | os.PathLike, orient: bool = True) -> tuple[int, int]:
    """(height, width) from the header alone, after the EXIF turn unless ``orient`` is False.

    Raises:
        FileNotFoundError, BrokenFileError: as ``read_image``.
    """
    try:
        _refuse_special(path)
        with Image.open(path) as image:
            width, height = image.size
            turned = orient and image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # tag "Orientation"
            return (width, height) if turned else (height, width)
    except FileNotFoundError:
        raise FileNotFoundError(f"no image {path}") from None
    except Exception as error:  # damage can surface anywhere in a decoder
        raise BrokenFileError(f"cannot read image {path}: {_reason(path, error)}") from error


def write_label_map(path: str | os.PathLike, labels: np.ndarray) -> None:
    """Write a uint8 or uint16 (H, W) label map, losslessly; the suffix chooses PNG or TIFF.

    Raises:
        TypeError: another dtype.
    """
    if labels.dtype not in (np.uint8, np.uint16) or labels.ndim != 2:
        raise TypeError(f"{path}: expected a uint8 or uint16 (H, W) label map, got {labels.dtype} {labels.shape}")
    Image.fromarray(np.ascontiguousarray(labels)).save(path)


def _decoded(image: Image.Image, orient: bool) -> np.ndarray:
    return np.array(_to_rgb(ImageOps.exif_transpose(image) if orient else image))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16-bit values at 255 instead of scaling them.
        values = np.array(image).astype(np.int64)
        return Image.fromarray(np.clip(values >> 8, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.array(image)
        if not np.isfinite(values).all() or values.max(initial=0) <= 1:
            raise ValueError("floating-point values in 0-1, or not finite; save it with 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _refuse_special(path: str | os.PathLike) -> None:
    # Opening a pipe waits for whoever should write to it, perhaps for ever.
    if kind := special_kind(path):
        raise OSError(f"it is {kind}")


def _reason(path: str | os.PathLike, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return reason(error)
    with contextlib.suppress(OSError):
        if not os.stat(path).st_size:
            return "the file is empty"
    return str(error) or type(error).__name__
