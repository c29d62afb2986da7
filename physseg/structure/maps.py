"""Structure maps in files: one 1-bit PNG per image and source, under ``<root>/<source>/<image path>.png``."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from detectron2.data.transforms import ResizeTransform
from fvcore.transforms.transform import Transform, TransformList
from PIL import Image

from ..io import atomic_write
from .options import StructureOptions


def map_path(root: str | os.PathLike, source: str, image: str | os.PathLike, base: str | os.PathLike) -> Path:
    """Where the map of an image lies: its path relative to ``base``, with ".png" added to its whole name.

    Raises:
        ValueError: the image is not inside ``base``.
    """
    try:
        relative = Path(os.path.abspath(image)).relative_to(os.path.abspath(base))
    except ValueError:
        raise ValueError(
            f"{image} is not inside {base}: structure maps are found by an image's path below the data folder "
            "($DETECTRON2_DATASETS)"
        ) from None
    return Path(root).expanduser() / source / relative.parent / f"{relative.name}.png"


def write_map(path: str | os.PathLike, structure: np.ndarray) -> None:
    """Write a map, (H, W) of 0 and 1, as a 1-bit PNG, atomically."""
    with atomic_write(path) as temporary:
        Image.fromarray(np.asarray(structure) > 0).save(temporary, format="PNG", optimize=True)


def read_map(path: str | os.PathLike) -> np.ndarray:
    """Read a map as uint8 (H, W) of 0 and 1.

    Raises:
        FileNotFoundError: there is none; the message says how to make it.
    """
    try:
        with Image.open(path) as image:
            return np.array(image.convert("1"), np.uint8)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no structure map {path}: make it with tools/make_structure_labels.py, or take the source out of "
            "MODEL.STRUCTURE.MAPS_SOURCES to have it computed in training"
        ) from None


def read_ready_maps(
    image_file: str | os.PathLike, base: str | os.PathLike, options: StructureOptions, transforms: Iterable[Transform]
) -> dict[str, np.ndarray]:
    """The maps made ahead for one image, carried through its augmentation.

    Args:
        image_file: path of the image; inside ``base``.
        base: data folder, $DETECTRON2_DATASETS.
        options: ``maps_sources`` says which, ``maps_root`` where.
        transforms: what was applied to the image, in order.

    Returns:
        uint8 (H, W) by source, for `make_structure_maps`; empty if ``maps_sources`` is.
    """
    return {
        source: transform_map(read_map(map_path(options.maps_root, source, image_file, base)), transforms)
        for source in options.maps_sources
    }


def transform_map(structure: np.ndarray, transforms: Iterable[Transform]) -> np.ndarray:
    """Carry a map, uint8 (H, W) of 0 and 1, through the geometric transforms of its image.

    A smaller size keeps every structure pixel (the nearest-neighbour resize of label maps would tear thin lines);
    a larger one is nearest-neighbour. Colour transforms leave a map as it is.
    """
    if isinstance(transforms, TransformList):
        transforms = transforms.transforms
    for transform in transforms:
        if isinstance(transform, ResizeTransform):
            structure = _resize_keeping_lines(structure, transform.new_h, transform.new_w)
        else:
            structure = transform.apply_segmentation(structure)
    return np.ascontiguousarray(structure)


def _resize_keeping_lines(structure: np.ndarray, height: int, width: int) -> np.ndarray:
    for axis, size in ((0, height), (1, width)):
        length = structure.shape[axis]
        if size < length:
            starts = np.arange(size) * length // size  # the pixels [starts[i], starts[i + 1]) become pixel i
            structure = np.maximum.reduceat(structure, starts, axis=axis)
        elif size > length:
            structure = np.take(structure, (2 * np.arange(size) + 1) * length // (2 * size), axis=axis)
    return structure
