"""COCO's captions and folders of images -> records: ``{"file_name", "image_id", "captions"}``."""

import json
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from physseg.data.images import IMAGE_EXTENSIONS, BrokenFileError
from physseg.data.raw_formats.common import few

logger = logging.getLogger(__name__)


def read_coco_captions(
    path: str | os.PathLike,
    images: str | os.PathLike,
    apart_from: Collection[int | str] = (),
    skip_broken: bool = False,
) -> list[dict[str, Any]]:
    """Records of a captions file in COCO's format, one for each image that has a caption, in the file's order.

    Args:
        path: JSON with ``images`` (``id``, ``file_name``) and ``annotations`` (``image_id``, ``caption``, and where
            known ``nouns``, a list).
        images: their folder.
        apart_from: ids of images to leave out, such as val2017's.
        skip_broken: captions that are empty or no text are left out and counted, instead of being an error.

    Returns:
        ``file_name``, ``image_id``, ``captions`` (a tuple of str), ``nouns`` (a tuple of str) of each.

    Raises:
        FileNotFoundError: no such file, or no image of the file lies in the folder.
        BrokenFileError: the file is no JSON, not UTF-8, of another form, or holds captions that are empty.
    """
    content = _read_json(path)
    names = {_field(entry, "id", path): str(_field(entry, "file_name", path)) for entry in content["images"]}
    captions: dict[Any, list[str]] = {}
    nouns: dict[Any, list[str]] = {}
    empty, strangers = [], []
    for entry in content["annotations"]:
        image, caption = _field(entry, "image_id", path), entry.get("caption")
        if image not in names:
            strangers.append(str(image))
        elif not isinstance(caption, str) or not caption.strip():
            empty.append(f"annotation {entry.get('id', '?')} of image {image}")
        else:
            captions.setdefault(image, []).append(" ".join(caption.split()))
            nouns.setdefault(image, []).extend(map(str, entry.get("nouns", ())))
    if strangers:
        raise BrokenFileError(
            f"{path}: {len(strangers)} captions are of images that it does not list: {few(strangers)}; the file is "
            "not whole, or was put together of two"
        )
    if empty:
        text = f"{path}: {len(empty)} of {len(content['annotations'])} captions are empty or no text: {few(empty)}"
        if not skip_broken:
            raise BrokenFileError(f"{text}; correct them, or set DATALOADER.SKIP_BROKEN True to leave them out")
        logger.warning("%s; left out", text)
    without = [str(image) for image in names if image not in captions]
    if without:
        logger.warning(
            "%s: %d of %d images have no caption: %s; left out", path, len(without), len(names), few(without)
        )
    apart = set(apart_from)
    kept = [image for image in captions if image not in apart]
    if len(kept) < len(captions):
        logger.info("%s: %d images are kept apart (apart_from)", path, len(captions) - len(kept))
    if not kept:
        raise BrokenFileError(f"{path} holds no image with a caption; expected COCO's captions_train2017.json or alike")
    records = [
        {
            "file_name": os.path.join(images, names[image]),
            "image_id": image,
            "captions": tuple(captions[image]),
            "nouns": tuple(dict.fromkeys(nouns[image])),
        }
        for image in kept
    ]
    if not os.path.isfile(records[0]["file_name"]) and not _any_exists(records):
        raise FileNotFoundError(
            f"none of the {len(records)} images of {path} is in {os.path.abspath(images)}; put them there, or name "
            "their folder"
        )
    return records


def image_ids(path: str | os.PathLike) -> set[int | str]:
    """Ids of the images of a captions file in COCO's format.

    Raises:
        FileNotFoundError, BrokenFileError: as `read_coco_captions`.
    """
    return {_field(entry, "id", path) for entry in _read_json(path)["images"]}


def rearranged(records: Sequence[Mapping[str, Any]], how: str, seed: int = 0) -> list[dict[str, Any]]:
    """Records by DATASETS.CAPTIONS.

    Args:
        how: "one": as they are. "each": a record for each caption; those of one image keep its ``image_id``.
            "shuffled": each image gets the captions and nouns of another, in an order that the seed decides.
    """
    if how == "each":
        return [dict(record, captions=(caption,)) for record in records for caption in record["captions"]]
    if how == "shuffled":
        # One cycle through all of them: no image keeps its own.
        cycle = np.random.default_rng(seed).permutation(len(records))
        others = dict(zip(cycle.tolist(), np.roll(cycle, 1).tolist(), strict=True))
        taken = [{key: records[others[i]][key] for key in ("captions", "nouns")} for i in range(len(records))]
        return [record | other for record, other in zip(records, taken, strict=True)]
    return list(records)


def check_contrast(records: Sequence[Mapping[str, Any]], name: str) -> None:
    """Refuse captions that leave nothing to contrast.

    Raises:
        ValueError: all captions of all images are the same.
    """
    first = records[0]["captions"][0]
    if len(records) > 1 and all(caption == first for record in records for caption in record["captions"]):
        raise ValueError(
            f"{name}: all {len(records)} images have the same caption, {first[:80]!r}: there is nothing to contrast. "
            "Check how the captions were made."
        )


def read_image_folder(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """A record ``{"file_name", "image_id"}`` for each image in a folder and those below it, sorted by name.

    Raises:
        FileNotFoundError: no such folder, or no image in it.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"no folder of images {os.path.abspath(folder)}")
    names = sorted(
        os.path.relpath(os.path.join(place, name), folder)
        for place, _, files in os.walk(folder, followlinks=True)
        for name in files
        if name.lower().endswith(IMAGE_EXTENSIONS) and not name.startswith(".")
    )
    if not names:
        raise FileNotFoundError(f"no image ({' '.join(IMAGE_EXTENSIONS)}) in {os.path.abspath(folder)}")
    return [{"file_name": os.path.join(folder, name), "image_id": name} for name in names]


def _any_exists(records: Sequence[Mapping[str, Any]]) -> bool:
    return any(os.path.isfile(record["file_name"]) for record in records)


def _read_json(path: str | os.PathLike) -> Mapping[str, Any]:
    try:
        content = json.loads(Path(path).read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no captions file {os.path.abspath(path)}") from None
    except UnicodeDecodeError as error:
        raise BrokenFileError(
            f"{path} is not UTF-8: {error.reason} at byte {error.start}; convert it, for instance with iconv"
        ) from None
    except ValueError as error:
        raise BrokenFileError(f"{path} is no JSON: {error}; it may be cut short: fetch it again") from None
    lists = [isinstance(content, dict) and isinstance(content.get(key), list) for key in ("images", "annotations")]
    if not all(lists):
        raise BrokenFileError(
            f"{path} is not of COCO's form: expected a mapping with the lists images (id, file_name) and annotations "
            "(image_id, caption)"
        )
    return content


def _field(entry: Any, key: str, path: str | os.PathLike) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise BrokenFileError(f"{path}: an entry has no {key!r}: {str(entry)[:120]}")
    return entry[key]
