"""Hand-made raw files of 4x4 pixels, one or two images per format, and a prepared data set."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from physseg.data.specs import get_spec


def save_image(path: Path, height: int = 4, width: int = 4, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


def save_index(path: Path, values, dtype=np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, dtype=dtype)).save(path)


def save_palette(path: Path, values) -> None:
    """Indices with VOC's colours: 1 is (128, 0, 0), so that a conversion to gray or RGB cannot pass for them."""
    values = np.asarray(values, dtype=np.uint8)
    image = Image.new("P", values.shape[::-1])
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [60] * (253 * 3))
    image.putdata(values.ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def save_mat(path: Path, values) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"LabelMap": np.asarray(values, dtype=np.uint16)})


def rle(mask) -> dict:
    """Uncompressed COCO RLE of a 0/1 array: runs of 0, 1, 0, ... down the columns."""
    flat = np.asarray(mask).T.ravel().tolist()
    counts, value = [], 0
    while flat:
        run = next((i for i, v in enumerate(flat) if v != value), len(flat))
        counts.append(run)
        flat, value = flat[run:], 1 - value
    return {"size": list(np.asarray(mask).shape), "counts": counts}


def save_context_json(base: Path, images: dict[str, tuple[str, list[tuple[int, dict]]]], size=(4, 4)) -> None:
    """``images``: name -> (phase, [(category, RLE), ...])."""
    base.mkdir(parents=True, exist_ok=True)
    content = {"images": [], "annos_segmentation": [], "categories": []}
    for name, (phase, segments) in images.items():
        image_id = int(name.replace("_", ""))
        content["images"].append(
            {"image_id": image_id, "file_name": f"{name}.jpg", "height": size[0], "width": size[1], "phase": phase}
        )
        content["annos_segmentation"] += [
            {"image_id": image_id, "category_id": category, "segmentation": segment} for category, segment in segments
        ]
    (base / "trainval_merged.json").write_text(json.dumps(content))


def save_ade_full(root: Path, base: str, images: dict[str, np.ndarray], split: str = "validation") -> None:
    """``images``: name -> class ids (H, W); written as R/G pairs with an index of plain lists."""
    folder = f"{Path(base).name}/images/ADE/{split}/urban/street"
    index = {"filename": [], "folder": [], "objectPresence": np.zeros((3, len(images)))}
    for seed, (name, ids) in enumerate(images.items()):
        ids = np.asarray(ids)
        coded = np.stack([ids // 256 * 10, ids % 256, np.full_like(ids, 77)], axis=2).astype(np.uint8)
        save_image(root / Path(base).parent / folder / f"{name}.jpg", *ids.shape, seed)
        Image.fromarray(coded).save(root / Path(base).parent / folder / f"{name}_seg.png")
        index["filename"].append(f"{name}.jpg")
        index["folder"].append(folder)
    with open(root / base / "index_ade20k.pkl", "wb") as file:
        pickle.dump(index, file, protocol=2)


def sized(key: str, num_images: int, **changes):
    """A spec that expects ``num_images``, so that a few files make a complete data set."""
    return replace(get_spec(key), num_images=num_images, **changes)


@pytest.fixture
def raw():
    """The makers above as attributes: test files cannot import from here."""
    makers = (save_image, save_index, save_palette, save_mat, rle, save_context_json, save_ade_full, sized)
    return type("Raw", (), {maker.__name__: staticmethod(maker) for maker in makers})


@pytest.fixture
def prepared(tmp_path):
    """Folder of a prepared A-150 of three images 8x6, and its spec."""
    spec = sized("a150", 3)
    for index in range(3):
        save_image(spec.images_path(tmp_path) / f"v{index}.jpg", 8, 6, index)
        save_index(spec.labels_path(tmp_path) / f"v{index}.png", np.full((8, 6), index))
        save_index(spec.base_path(tmp_path) / "annotations/validation" / f"v{index}.png", np.full((8, 6), index + 1))
    return tmp_path, spec
