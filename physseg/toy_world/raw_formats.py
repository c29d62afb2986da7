"""One image of the toy world written as each real dataset stores its images and labels.

Every writer takes the folder that holds the dataset ("<datasets>/toy_world"), the image's name, its `Rendering` and
a raw value per composition; compositions without one become what the format says of unlabelled pixels.
"""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import scipy.io
from PIL import Image
from pycocotools import mask as coco_mask

from physseg.io import atomic_write, save_image, write_bytes_atomic, write_json_atomic, write_text_atomic
from physseg.toy_world.scenes import Rendering
from physseg.toy_world.vocabularies import COMPOSITIONS, Row

_JPEG_QUALITY = 92
_VOC_VOID = 255

RawIds = Mapping[int, int]  # composition index -> raw value


def write_coco_stuff(root: Path, name: str, split: str, rendering: Rendering, raw_ids: RawIds) -> None:
    """``coco-stuff/{images,annotations}/<split>``: uint8 PNG of raw ids 0..181, 255 unlabelled."""
    base = root / "coco-stuff"
    _write_jpeg(base / "images" / split / f"{name}.jpg", rendering.image)
    labels = _raw_map(rendering, raw_ids, unlabelled=255).astype(np.uint8)
    _write_png(base / "annotations" / split / f"{name}.png", labels)


def write_ade150(root: Path, name: str, split: str, rendering: Rendering, raw_ids: RawIds) -> None:
    """``ADEChallengeData2016/{images,annotations}/<split>``: uint8 PNG of 1.., 0 unlabelled."""
    base = root / "ADEChallengeData2016"
    _write_jpeg(base / "images" / split / f"{name}.jpg", rendering.image)
    labels = _raw_map(rendering, raw_ids, unlabelled=0).astype(np.uint8)
    _write_png(base / "annotations" / split / f"{name}.png", labels)


def ade_full_folder(name: str) -> str:
    """Folder of an image as the index lists it; it starts with the dataset's own folder."""
    split = "validation" if name.split("_")[1] == "val" else "training"
    group = ("work_place", "urban")[int(name[-1]) % 2]
    return f"ADE20K_2021_17_01/images/ADE/{split}/{group}/toy_scene"


def write_ade_full(root: Path, name: str, split: str, rendering: Rendering, raw_ids: RawIds) -> None:
    """``NAME.jpg`` and ``NAME_seg.png``, whose class is R // 10 * 256 + G and whose B numbers the segments."""
    folder = root / ade_full_folder(name)
    _write_jpeg(folder / f"{name}.jpg", rendering.image)
    classes = _raw_map(rendering, raw_ids, unlabelled=0)
    instances = np.zeros(classes.shape, np.uint8)
    for number, (_, mask) in enumerate(rendering.layers, start=1):
        instances[mask] = number
    # R's last digit carries no class in the real files either.
    red = classes // 256 * 10 + instances % 10
    _write_png(folder / f"{name}_seg.png", np.stack([red, classes % 256, instances], -1).astype(np.uint8))


def write_ade_full_index(root: Path, names: list[str]) -> None:
    """``index_ade20k.pkl``: parallel lists ``filename`` and ``folder``."""
    index = {"filename": [f"{name}.jpg" for name in names], "folder": [ade_full_folder(name) for name in names]}
    write_bytes_atomic(root / "ADE20K_2021_17_01" / "index_ade20k.pkl", pickle.dumps(index, protocol=4))


def write_voc(root: Path, name: str, split: str, rendering: Rendering, raw_ids: RawIds) -> None:
    """``VOCdevkit/VOC2012/{JPEGImages,SegmentationClass}``: palette PNG; 0 background, 255 along object borders."""
    base = root / "VOCdevkit" / "VOC2012"
    _write_jpeg(base / "JPEGImages" / f"{name}.jpg", rendering.image)
    labels = _raw_map(rendering, raw_ids, unlabelled=0).astype(np.uint8)
    border = np.zeros(labels.shape, bool)
    covered = np.zeros(labels.shape, bool)
    for index, mask in reversed(rendering.layers):
        if index in raw_ids:
            visible = (mask & ~covered).astype(np.uint8)
            border |= cv2.morphologyEx(visible, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(bool)
        covered |= mask
    labels[border] = _VOC_VOID
    image = Image.fromarray(labels, mode="P")
    image.putpalette(voc_palette().tobytes())
    with atomic_write(base / "SegmentationClass" / f"{name}.png") as temporary:
        save_image(image, temporary)


def write_voc_list(root: Path, split: str, names: list[str]) -> None:
    """``VOCdevkit/VOC2012/ImageSets/Segmentation/<split>.txt``."""
    folder = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
    write_text_atomic(folder / f"{split}.txt", "".join(f"{name}\n" for name in names))


def write_context(root: Path, name: str, split: str, rendering: Rendering, raw_ids: RawIds) -> None:
    """``VOCdevkit/VOC2010/{JPEGImages,trainval}``: MATLAB file with a uint16 ``LabelMap``, 0 unlabelled."""
    base = root / "VOCdevkit" / "VOC2010"
    _write_jpeg(base / "JPEGImages" / f"{name}.jpg", rendering.image)
    labels = _raw_map(rendering, raw_ids, unlabelled=0).astype(np.uint16)
    with atomic_write(base / "trainval" / f"{name}.mat") as temporary:
        scipy.io.savemat(temporary, {"LabelMap": labels}, do_compression=True)


def context_segments(rendering: Rendering, raw_ids: RawIds) -> list[tuple[int, dict]]:
    """(category id, COCO RLE) of every labelled layer: whole masks, which overlap, in painting order.

    A layer without a category would show what it covers, so that part is cut from the masks below it.
    """
    segments = []
    for position, (index, mask) in enumerate(rendering.layers):
        if index not in raw_ids:
            continue
        hidden = [m for i, m in rendering.layers[position + 1 :] if i not in raw_ids]
        kept = mask & ~np.logical_or.reduce(hidden) if hidden else mask
        rle = coco_mask.encode(np.asfortranarray(kept, np.uint8))
        segments.append((raw_ids[index], {"size": rle["size"], "counts": rle["counts"].decode()}))
    return segments


def write_context_json(
    root: Path, images: list[tuple[str, str, tuple[int, int], list[tuple[int, dict]]]], rows: tuple[Row, ...]
) -> None:
    """``trainval_merged.json`` from (name, phase, (height, width), segments) per image and the categories' rows."""
    content: dict[str, list] = {"images": [], "annos_segmentation": [], "categories": []}
    for name, phase, (height, width), segments in images:
        image_id = int(name.replace("_", ""))
        content["images"].append(
            {"image_id": image_id, "file_name": f"{name}.jpg", "height": height, "width": width, "phase": phase}
        )
        content["annos_segmentation"] += [
            {"image_id": image_id, "category_id": category, "segmentation": rle} for category, rle in segments
        ]
    content["categories"] = [{"category_id": row.raw_id, "name": row.name} for row in rows]
    write_json_atomic(root / "VOCdevkit" / "VOC2010" / "trainval_merged.json", content, indent=None)


def voc_palette() -> np.ndarray:
    """uint8 (256, 3): VOC's colours, made by spreading the bits of the index over the channels."""
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((index >> channel) & 1) << (7 - bit)).astype(np.uint8)
        index >>= 3
    return palette


def _raw_map(rendering: Rendering, raw_ids: RawIds, unlabelled: int) -> np.ndarray:
    """int64 (H, W) of raw values."""
    # The last entry serves composition_map's -1: nothing painted.
    table = np.full(len(COMPOSITIONS) + 1, unlabelled, np.int64)
    for index, raw in raw_ids.items():
        table[index] = raw
    return table[rendering.composition_map()]


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    write_bytes_atomic(path, data.tobytes())


def _write_png(path: Path, labels: np.ndarray) -> None:
    """uint8 (H, W), or RGB (H, W, 3)."""
    data = cv2.imencode(".png", labels[..., ::-1] if labels.ndim == 3 else labels)[1]
    write_bytes_atomic(path, data.tobytes())


Writer = Callable[[Path, str, str, Rendering, RawIds], None]
