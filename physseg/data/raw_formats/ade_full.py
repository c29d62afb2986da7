"""ADE20K-847 from the full ADE20K_2021_17_01: RGB-coded PNGs, listed by ``index_ade20k.pkl``.

Class id = (R // 10) * 256 + G; 0 = nothing. As in CAT-Seg's preparation, images whose two sides are both
above 512 are shrunk to a short side of 512, image and label map, and the image is written again as JPEG.
Predictions are compared at that size.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from physseg.data.images import read_image
from physseg.data.raw_formats.allowed_pickle import load_allowed
from physseg.data.raw_formats.common import Job, MissingInputError, few, require, save_labels, to_train_ids
from physseg.data.specs import BenchmarkSpec
from physseg.io import atomic_write, save_image

INDEX_NAME = "index_ade20k.pkl"
SHORT_SIDE = 512


def plan(spec: BenchmarkSpec, root: Path) -> list[Job]:
    """One job per image of the split. Source: path of the raw JPEG."""
    base = spec.base_path(root)
    paths = split_paths(require(base / INDEX_NAME, f"index of {spec.title}"), spec.split)
    # Folders in the index begin with the name of the data set's own folder.
    jobs = [Job(path.stem, str(base.parent / path)) for path in paths]
    missing = [
        str(path)
        for job in jobs
        for path in (Path(job.source), segmentation_path(Path(job.source)))
        if not path.is_file()
    ]
    if missing:
        raise MissingInputError(
            f"{len(missing)} of {2 * len(jobs)} raw files of {spec.title} are missing: {few(missing, 3)}; unpack the "
            "archive again"
        )
    return jobs


def split_paths(index: Path, split: str) -> list[Path]:
    """Relative paths of the split's JPEGs. An image is "val" iff the second part of its name is, else "train".

    Raises:
        MissingInputError: the index has no such images.
    """
    content = load_allowed(index)
    if not isinstance(content, dict) or not {"filename", "folder"} <= set(content):
        raise MissingInputError(f"{index} has no 'filename' and 'folder'; expected the index of ADE20K_2021_17_01")
    paths = []
    for name, folder in zip(content["filename"], content["folder"], strict=True):
        parts = str(name).split("_")
        if ("val" if len(parts) > 1 and parts[1] == "val" else "train") == split:
            paths.append(Path(str(folder)) / str(name))
    if not paths:
        raise MissingInputError(f"{index} lists no image of split {split!r}; expected ADE20K_2021_17_01")
    return paths


def segmentation_path(image: Path) -> Path:
    """``NAME_seg.png`` beside ``NAME.jpg``."""
    return image.with_name(f"{image.stem}_seg.png")


def convert(job: Job, spec: BenchmarkSpec, root: Path) -> None:
    """Decode, shrink both, write the image, then the label map."""
    # The stored pixels fit the label map, whatever the EXIF orientation.
    image = read_image(job.source, orient=False)
    source = segmentation_path(Path(job.source))
    raw = decode(read_image(source, orient=False))
    if raw.shape != image.shape[:2]:
        raise ValueError(f"{source} has size {raw.shape}, its image {image.shape[:2]}")
    image, labels = shrink(image, to_train_ids(raw, spec, source))
    with atomic_write(spec.images_path(root) / f"{job.name}{spec.image_ext}") as temporary:
        save_image(Image.fromarray(image), temporary)
    save_labels(job, labels, spec, root)


def decode(rgb: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> class ids int32 (H, W)."""
    return rgb[:, :, 0].astype(np.int32) // 10 * 256 + rgb[:, :, 1]


def shrink(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bring the short side to 512 if both sides are larger, as OpenCV 4 does.

    The image is resized by OpenCV's INTER_LINEAR. Labels follow its INTER_NEAREST, which takes pixel
    floor(x * scale): written out, so that no version of OpenCV can change the ground truth.

    Args:
        image: uint8 (H, W, 3). labels: (H, W).
    """
    height, width = labels.shape
    if min(height, width) <= SHORT_SIDE:
        return image, labels
    longest = round(max(height, width) / min(height, width) * SHORT_SIDE)
    new_height, new_width = (SHORT_SIDE, longest) if height <= width else (longest, SHORT_SIDE)
    rows, columns = opencv_nearest(height, new_height), opencv_nearest(width, new_width)
    image = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    return image, labels[rows[:, None], columns]


def opencv_nearest(source: int, target: int) -> np.ndarray:
    """Source index (target,) that OpenCV's INTER_NEAREST takes for each target pixel, in its own arithmetic."""
    inverse_scale = target / source
    return np.minimum(np.floor(np.arange(target) * (1.0 / inverse_scale)).astype(np.int64), source - 1)


def expected_names(spec: BenchmarkSpec, root: Path, thorough: bool) -> list[str] | None:
    """Names of the index's split; the file is large, so only if ``thorough``."""
    index = spec.base_path(root) / INDEX_NAME
    if not thorough or not index.is_file():
        return None
    return [path.stem for path in split_paths(index, spec.split)]
