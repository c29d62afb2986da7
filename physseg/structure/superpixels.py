"""Superpixels: an image in pieces of one colour, as SegCLIP's loss takes them.

h w: patch grid.
"""

from dataclasses import dataclass

import numpy as np

PATCH_RULES = ("majority", "mean")


@dataclass(frozen=True)
class SuperpixelOptions:
    """Felzenszwalb and Huttenlocher's segmentation (2004), scikit-image's: see MODEL.SEGCLIP.SUPERPIXELS.

    scale: larger gives larger pieces. sigma: of the blur before, in pixels. min_size: of a piece, in pixels.
    grid: (h, w). rule: which piece a patch belongs to, see `patch_superpixels`.
    """

    scale: float = 224.0
    sigma: float = 0.9
    min_size: int = 224
    grid: tuple[int, int] = (14, 14)
    rule: str = "majority"


def require_scikit_image() -> None:
    """Raise ImportError where scikit-image is not installed; the message says how to get it."""
    try:
        import skimage.segmentation  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'superpixels need scikit-image: pip install "physseg[superpixels]", or set '
            "MODEL.SEGCLIP.SUPERPIXELS.WEIGHT 0"
        ) from error


def felzenszwalb_superpixels(image: np.ndarray, options: SuperpixelOptions) -> np.ndarray:
    """Pieces of an image.

    Args:
        image: uint8 (H, W, 3), RGB.

    Returns:
        int64 (H, W), 0 and up.

    Raises:
        ImportError: as `require_scikit_image`.
    """
    require_scikit_image()
    from skimage.segmentation import felzenszwalb

    return felzenszwalb(image, scale=options.scale, sigma=options.sigma, min_size=options.min_size)


def patch_superpixels(pieces: np.ndarray, grid: tuple[int, int], rule: str = "majority") -> np.ndarray:
    """The piece that every patch belongs to.

    Args:
        pieces: whole numbers (H, W), H and W multiples of h and w.
        grid: (h, w).
        rule: "majority": the piece of most pixels, the smallest number on a tie. "mean": the mean of the pixels'
            numbers, rounded down, as SegCLIP's published loader has it: a number that may be no piece's, or another's.

    Returns:
        int64 (h, w).

    Raises:
        ValueError: another rule, or a grid that does not divide the map.

    Example:
        >>> patch_superpixels(np.array([[1, 1, 5, 9], [1, 9, 9, 9]]), (1, 2))
        array([[1, 9]])
    """
    (height, width), (h, w) = pieces.shape, grid
    if height % h or width % w:
        raise ValueError(f"superpixels {height}x{width} do not divide into a grid of {h}x{w} patches")
    blocks = pieces.reshape(h, height // h, w, width // w).swapaxes(1, 2).reshape(h, w, -1)
    if rule == "mean":
        return blocks.mean(2).astype(np.int64)
    if rule != "majority":
        raise ValueError(f"MODEL.SEGCLIP.SUPERPIXELS.RULE: expected one of {PATCH_RULES}, got {rule!r}")
    numbers, inverse = np.unique(blocks, return_inverse=True)
    inverse = inverse.reshape(h * w, -1)
    counts = np.zeros((h * w, len(numbers)), np.int64)
    np.add.at(counts, (np.arange(h * w)[:, None], inverse), 1)
    return numbers[counts.argmax(1)].reshape(h, w).astype(np.int64)


def superpixel_target(image: np.ndarray, options: SuperpixelOptions) -> np.ndarray:
    """Superpixel of every patch of a training crop: uint8 (H, W, 3) -> int64 (h, w)."""
    return patch_superpixels(felzenszwalb_superpixels(image, options), options.grid, options.rule)
