"""PASCAL-Context 59: ``trainval_merged.json``, one COCO RLE mask per segment.

An image's segments are painted in file order with their category ids, later ones over earlier ones. No
Detail API is needed. An image without segments is all unlabelled.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from physseg.data.raw_formats.common import Job, MissingInputError, require, require_all, save_labels, to_train_ids
from physseg.data.specs import BenchmarkSpec

JSON_NAME = "trainval_merged.json"


def plan(spec: BenchmarkSpec, root: Path) -> list[Job]:
    """One job per image of the JSON's phase SPLIT. Source: (height, width, [(category id, RLE), ...])."""
    path = require(spec.base_path(root) / JSON_NAME, f"annotations of {spec.title}")
    content = read_json(path)
    images = split_images(content, spec.split, path)
    segments: dict[Any, list] = {image["image_id"]: [] for image in images}
    for annotation in content["annos_segmentation"]:
        if annotation["image_id"] in segments:
            segments[annotation["image_id"]].append((annotation["category_id"], annotation["segmentation"]))
    jobs = [
        Job(Path(image["file_name"]).stem, (image["height"], image["width"], segments[image["image_id"]]))
        for image in images
    ]
    require_all(spec.images_path(root), [job.name for job in jobs], spec.image_ext, "images")
    return jobs


def convert(job: Job, spec: BenchmarkSpec, root: Path) -> None:
    """Paint, map, write."""
    height, width, segments = job.source
    raw = paint(height, width, segments, job.name)
    save_labels(job, to_train_ids(raw, spec, job.name), spec, root)


def paint(height: int, width: int, segments: list[tuple[int, dict]], name: str = "") -> np.ndarray:
    """int32 (height, width): category ids in painting order, 0 where nothing was painted.

    Args:
        segments: (category id, COCO RLE) pairs; counts compressed or not.

    Raises:
        ValueError: a mask has another size.
    """
    raw = np.zeros((height, width), dtype=np.int32)
    for category, rle in segments:
        if isinstance(rle["counts"], list):
            rle = coco_mask.frPyObjects(rle, height, width)
        mask = coco_mask.decode(rle)
        if mask.shape != raw.shape:
            raise ValueError(f"{name}: a segment of category {category} has size {mask.shape}, expected {raw.shape}")
        raw[mask.astype(bool)] = category
    return raw


def expected_names(spec: BenchmarkSpec, root: Path, thorough: bool) -> list[str] | None:
    """Names of the JSON's split; the file is large, so only if ``thorough``."""
    path = spec.base_path(root) / JSON_NAME
    if not thorough or not path.is_file():
        return None
    return [Path(image["file_name"]).stem for image in split_images(read_json(path), spec.split, path)]


def read_json(path: Path) -> dict:
    """Content of the JSON.

    Raises:
        MissingInputError: it is cut short or is another file.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        if not {"images", "annos_segmentation"} <= set(content):
            raise ValueError("no 'images' or 'annos_segmentation'")
    except (ValueError, TypeError) as error:
        raise MissingInputError(f"{path} is not PASCAL-Context's JSON, or is damaged ({error}); get it again") from None
    return content


def split_images(content: dict, split: str, path: Path) -> list[dict]:
    """The JSON's image entries of phase ``split``.

    Raises:
        MissingInputError: there are none.
    """
    images = [image for image in content["images"] if image["phase"] == split]
    if not images:
        raise MissingInputError(f"{path} has no image of phase {split!r}; get the file again")
    return images
