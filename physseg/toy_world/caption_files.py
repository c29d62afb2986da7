"""Writes pictures of the toy world with captions, in COCO's format: annotations/captions_SPLIT.json, images/SPLIT.

The pictures show all 144 names, as those that the toy CLIP was pre-trained on; no label map is written. As in COCO, an
image has five captions: two name all that it shows, the others a part of it.
"""

import json
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from physseg.data.processes import available_cores, worker_pool
from physseg.io import atomic_write, save_image, write_json_atomic
from physseg.toy_world.captions import random_prompt, sample_picture
from physseg.toy_world.make import FOLDER
from physseg.toy_world.vocabularies import COMPOSITIONS

SPLITS = {"train2017": 2000, "val2017": 200}
"""Images of each."""
CAPTIONS = 5

# Apart from those of the scenes, whose numbers begin at 0.
_FIRST_SOURCE = 100


def write_toy_captions(
    root: str | os.PathLike, seed: int = 0, processes: int | None = None, progress: bool = True
) -> Path:
    """Write both splits under ``root``/toy_world/captions; finished ones stay as they are.

    Args:
        root: folder of all data sets ($DETECTRON2_DATASETS).
        seed: an image depends on it, its split and its number only.
        processes: how many write; None: one per core.
        progress: show a bar.

    Returns:
        the folder.

    Raises:
        FileExistsError: it holds those of another seed.
    """
    folder = Path(root).expanduser() / FOLDER / "captions"
    for number, (split, count) in enumerate(SPLITS.items()):
        annotations = folder / "annotations" / f"captions_{split}.json"
        if annotations.is_file():
            _check_seed(annotations, seed)
            continue
        images = folder / "images" / split
        images.mkdir(parents=True, exist_ok=True)
        # Ids of the two splits differ, as COCO's do.
        first = 1 + sum(list(SPLITS.values())[:number])
        jobs = [(images, seed, _FIRST_SOURCE + number, first + index) for index in range(count)]
        written = _write_all(jobs, processes or available_cores(), f"captions {split}", progress)
        entries = [{"id": first + index, "file_name": name} for index, (name, _) in enumerate(written)]
        captions = [(image["id"], text) for image, (_, texts) in zip(entries, written, strict=True) for text in texts]
        write_json_atomic(
            annotations,
            {
                "info": {"seed": seed},
                "images": entries,
                "annotations": [
                    {"id": CAPTIONS * first + index, "image_id": image, "caption": text}
                    for index, (image, text) in enumerate(captions)
                ],
            },
        )
    return folder


def _write_all(jobs: list[tuple], processes: int, title: str, progress: bool) -> list[tuple[str, list[str]]]:
    bar = {"total": len(jobs), "desc": title, "unit": "image", "disable": not progress}
    if processes == 1:
        return [_write_image(job) for job in tqdm(jobs, **bar)]
    with worker_pool(processes, "spawn") as pool:
        return list(tqdm(pool.map(_write_image, jobs, chunksize=16), **bar))


def _check_seed(annotations: Path, seed: int) -> None:
    found = json.loads(annotations.read_text()).get("info", {}).get("seed")
    if found != seed:
        raise FileExistsError(
            f"{annotations.parent.parent} holds captions of seed {found}; expected seed {seed}. Remove the folder or "
            "choose another --root."
        )


def _write_image(job: tuple[Path, int, int, int]) -> tuple[str, list[str]]:
    """Write one image; return its file name and its captions."""
    images, seed, source, number = job
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, source, number])
    pair = sample_picture(rng)
    name = f"{number:012d}.png"
    with atomic_write(images / name) as temporary:
        save_image(Image.fromarray(pair.image), temporary)
    return name, [pair.caption, *(_caption(rng, pair.present, whole=index == 1) for index in range(1, CAPTIONS))]


def _caption(rng: np.random.Generator, present: tuple[int, ...], whole: bool) -> str:
    count = len(present) if whole else int(rng.integers(1, len(present) + 1))
    names = [COMPOSITIONS[i].name for i in rng.permutation(present)[:count]]
    return random_prompt(rng, " and a ".join(filter(None, (", a ".join(names[:-1]), names[-1]))))
