"""Writes the toy world to disk: a training set and six benchmarks in the raw formats of the real datasets.

An image depends on the seed, its dataset and its number only, so the files are the same however many processes write
them and wherever an interrupted run stopped.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from physseg.data.processes import worker_pool
from physseg.io import write_json_atomic
from physseg.toy_world import raw_formats
from physseg.toy_world.scenes import SceneStyle, render, sample_scene
from physseg.toy_world.vocabularies import (
    COMPOSITION_INDEX,
    COMPOSITIONS,
    THINGS,
    VOCABULARIES,
    first_synonym,
)

FOLDER = "toy_world"
MANIFEST = "toy_world.json"
# Raised when the same seed no longer gives the same files.
_VERSION = 1

_SHORT_SIDE, _LONG_SIDE = 96, 128
# The first images of ADE full have both sides above 512, which its conversion shrinks.
_LARGE_IMAGES, _LARGE_SCALE = 2, 5.75
# Share of images with a thing outside the dataset's vocabulary.
_STRANGER_SHARE = 0.15
# Images of another split than the one evaluated, which the lists must filter out.
_OTHER_SPLIT_IMAGES = 3


@dataclass(frozen=True)
class Source:
    """One raw dataset: what its scenes show and how its images are called.

    key: label table. common: table of the names that every other scene is made of; empty: all names alike.
    others: table of what else is in the pictures, where the dataset labels things alone (VOC).
    strangers: whether things without a label may occur. unlabelled: share of regions whose label is left out.
    """

    number: int
    key: str
    split: str
    name: str
    count: int
    writer: raw_formats.Writer
    common: str = ""
    others: str = ""
    strangers: bool = True
    unlabelled: float = 0.04


def sources() -> tuple[Source, ...]:
    """The raw datasets, training set first. Benchmarks with the same images share one."""
    coco, a847, pc459, a150, _, pas20, _ = (VOCABULARIES[key] for key in VOCABULARIES)
    other = _OTHER_SPLIT_IMAGES
    # What VOC leaves unlabelled is its background class, so there nothing may lose its label.
    voc = {"others": "toy_pc59", "unlabelled": 0.0, "writer": raw_formats.write_voc}
    context = {"common": "toy_pc59", "writer": raw_formats.write_context}
    plain = {"writer": raw_formats.write_coco_stuff, "strangers": False}
    return (
        Source(0, coco.key, "train2017", "{:012d}", coco.num_train, **plain),
        Source(1, coco.key, "val2017", "{:012d}", coco.num_val, **plain),
        Source(2, a847.key, "val", "ADE_val_{:08d}", a847.num_val, raw_formats.write_ade_full),
        Source(3, a847.key, "train", "ADE_train_{:08d}", other, raw_formats.write_ade_full),
        Source(4, a150.key, "validation", "ADE_val_{:08d}", a150.num_val, raw_formats.write_ade150),
        Source(5, pc459.key, "val", "2008_{:06d}", pc459.num_val, **context),
        Source(6, pc459.key, "train", "2009_{:06d}", other, **context),
        Source(7, pas20.key, "val", "2007_{:06d}", pas20.num_val, **voc),
        Source(8, pas20.key, "train", "2010_{:06d}", other, **voc),
    )


def make_toy_world(root: str | os.PathLike, seed: int = 0, processes: int | None = None, progress: bool = True) -> Path:
    """Write the toy world under ``root``/toy_world; a finished one with the same seed is left as it is.

    What an interrupted run left is written over with the same content.

    Args:
        root: folder of all datasets ($DETECTRON2_DATASETS).
        seed: another one gives other scenes with the same names and counts.
        processes: how many write; None: one per core.
        progress: show a bar.

    Returns:
        the toy world's folder.

    Raises:
        FileExistsError: the folder holds a toy world of another seed or version.
    """
    folder = Path(root).expanduser() / FOLDER
    manifest = folder / MANIFEST
    settings = {"seed": seed, "version": _VERSION}
    if manifest.is_file():
        found = json.loads(manifest.read_text())
        if {key: found.get(key) for key in settings} != settings:
            raise FileExistsError(
                f"{folder} holds a toy world of seed {found.get('seed')}, version {found.get('version')}; "
                f"expected seed {seed}, version {_VERSION}. Remove the folder or choose another --root."
            )
        if found.get("complete"):
            return folder
    write_json_atomic(manifest, settings | {"complete": False})
    jobs = [(folder, seed, source.number, index) for source in sources() for index in range(source.count)]
    with worker_pool(processes or os.cpu_count() or 1, "spawn") as pool:
        done = pool.map(_make_image, jobs, chunksize=16)
        results = list(tqdm(done, total=len(jobs), desc="toy world", unit="image", disable=not progress))
    _write_indices(folder, [result for result in results if result is not None])
    write_json_atomic(manifest, settings | {"complete": True})
    return folder


def _make_image(job: tuple[Path, int, int, int]) -> tuple | None:
    """Write one image; for Context, return its entry of the JSON."""
    folder, seed, number, index = job
    cv2.setNumThreads(1)
    source = sources()[number]
    name = source.name.format(index + 1)
    rng = np.random.default_rng([seed, number, index])
    raw_ids = {COMPOSITION_INDEX[first_synonym(r.name)]: r.raw_id for r in VOCABULARIES[source.key].rows}
    width, height = _SHORT_SIDE, int(rng.integers(_SHORT_SIDE, _LONG_SIDE + 1))
    if rng.random() < 0.7:
        width, height = height, width
    names = _scene_names(source, seed, index, rng)
    style = SceneStyle(width=width, height=height)
    things, backgrounds = ([COMPOSITIONS[i] for i in part] for part in names)
    scene = sample_scene(rng, things, backgrounds, style)
    scale = _LARGE_SCALE if source.writer is raw_formats.write_ade_full and index < _LARGE_IMAGES else 1
    rendering = render(scene, round(height * scale), round(width * scale))
    unlabelled = {i for i, _ in rendering.layers if rng.random() < source.unlabelled}
    kept = {i: raw for i, raw in raw_ids.items() if i not in unlabelled}
    source.writer(folder, name, source.split, rendering, kept)
    if source.writer is not raw_formats.write_context:
        return None
    frequent = {COMPOSITION_INDEX[row.name] for row in VOCABULARIES["toy_pc59"].rows}
    segments = raw_formats.context_segments(rendering, {i: raw for i, raw in kept.items() if i in frequent})
    return name, source.split, rendering.image.shape[:2], segments


def _scene_names(source: Source, seed: int, index: int, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Composition indices of the things and backgrounds that image ``index`` may show.

    Names are dealt out like cards, so that a small set of images shows as many of them as it can.
    """
    own = _names(source.key)
    backgrounds = [i for i in _names(source.others or source.key) if not COMPOSITIONS[i].is_thing]
    things = [i for i in own if COMPOSITIONS[i].is_thing]
    if source.common and index % 2:
        common = set(_names(source.common))
        things, backgrounds = ([i for i in part if i in common] or part for part in (things, backgrounds))
    dealt = [_deal(things, 3, seed, source.number, index), _deal(backgrounds, 2, seed, source.number, index)]
    if source.strangers and rng.random() < _STRANGER_SHARE:
        pool = _names(source.others) if source.others else range(len(THINGS))
        strangers = [i for i in pool if COMPOSITIONS[i].is_thing and i not in own]
        dealt[0][-1] = strangers[rng.integers(len(strangers))]
    return dealt[0], dealt[1]


def _deal(names: list[int], hand: int, seed: int, number: int, index: int) -> list[int]:
    """Hand ``index`` of decks that are shuffled anew whenever they run out."""
    cards = range(index * hand, (index + 1) * hand)
    decks = {
        deck: np.random.default_rng([seed, number, len(names), deck]).permutation(len(names))
        for deck in {card // len(names) for card in cards}
    }
    return [names[decks[card // len(names)][card % len(names)]] for card in cards]


def _names(key: str) -> list[int]:
    return [COMPOSITION_INDEX[first_synonym(name)] for name in VOCABULARIES[key].names]


def _write_indices(folder: Path, context_images: list[tuple]) -> None:
    named: dict[Any, list[str]] = {}
    for source in sources():
        names = [source.name.format(i + 1) for i in range(source.count)]
        named.setdefault(source.writer, []).extend(names)
        if source.writer is raw_formats.write_voc:
            raw_formats.write_voc_list(folder, source.split, names)
    raw_formats.write_ade_full_index(folder, named[raw_formats.write_ade_full])
    raw_formats.write_context_json(folder, context_images, VOCABULARIES["toy_pc59"].rows)
