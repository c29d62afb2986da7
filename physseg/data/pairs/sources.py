"""Sets of pairs and of images: the built-in ones, and those that a config declares.

``DATASETS.PAIRS`` is a list of mappings, or of YAML files that hold one (paths are relative to the file):

    name: my_pairs                         # for DATASETS.TRAIN
    captions: annotations/captions.json    # COCO's format, with ...
    images: train2017                      # ... the folder of its images
    apart_from: annotations/val.json       # images of this file are left out

    name: my_images
    images: imagenet/train                 # images alone, in the folder and those below it

    name: my_tars
    tars: cc3m/{00000..00331}.tar          # webdataset shards, local or remote; a list of them is taken too
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from physseg.data.entries import Entry, declared_entries
from physseg.data.specs import datasets_root, find_spec

_PATHS = ("captions", "images", "apart_from")
LABEL_MAPS, PAIRS, IMAGES, TARS = "label maps", "image-caption pairs", "images", "tars"


@dataclass(frozen=True)
class PairSource:
    """A set of images, with captions or without.

    captions: file in COCO's format, "" for none. images: folder, "" for tars. apart_from: captions file whose images
    are left out where it is there, "" for none. tars: shards, each a path or URL. num_images, num_captions: expected,
    None where any number is right. prepare: how to get it.
    """

    name: str
    captions: str = ""
    images: str = ""
    apart_from: str = ""
    tars: tuple[str, ...] = ()
    num_images: int | None = None
    num_captions: int | None = None
    prepare: str = "see docs/without_masks.md"

    @property
    def kind(self) -> str:
        """PAIRS, IMAGES or TARS; what tars hold is seen when they are read."""
        return TARS if self.tars else PAIRS if self.captions else IMAGES


def built_in_sources(root: str | os.PathLike | None = None) -> tuple[PairSource, ...]:
    """COCO's captions beside COCO-Stuff's images, val2017 apart, and the toy world's."""
    base = datasets_root(root)
    coco, toy = base / "coco-stuff", base / "toy_world" / "captions"
    get = "unpack annotations_trainval2017.zip of cocodataset.org beside COCO-Stuff's images (datasets/README.md)"
    # file, images; expected images and captions
    rows = (
        ("coco_2017_captions_train", coco, "train2017", "val2017", 118_287, 591_753, get),
        ("coco_2017_captions_val", coco, "val2017", "", 5_000, 25_014, get),
        ("toy_captions_train", toy, "train2017", "val2017", 2_000, 10_000, "python tools/make_toy_world.py"),
        ("toy_captions_val", toy, "val2017", "", 200, 1_000, "python tools/make_toy_world.py"),
    )
    return tuple(
        PairSource(
            name,
            captions=str(folder / "annotations" / f"captions_{split}.json"),
            images=str(folder / "images" / split),
            apart_from=str(folder / "annotations" / f"captions_{apart}.json") if apart else "",
            num_images=images,
            num_captions=captions,
            prepare=prepare,
        )
        for name, folder, split, apart, images, captions, prepare in rows
    )


def declared_sources(cfg: CfgNode) -> tuple[PairSource, ...]:
    """The entries of DATASETS.PAIRS.

    Raises:
        ValueError: an entry is wrong; the message names it and the field.
        FileNotFoundError: the file of an entry is missing.
    """
    entries = declared_entries("DATASETS.PAIRS", cfg.DATASETS.PAIRS, ("name",), (*_PATHS, "tars"), ("name", *_PATHS))
    return tuple(map(_source, entries))


def find_source(name: str, cfg: CfgNode | None = None, root: str | os.PathLike | None = None) -> PairSource | None:
    """The set of this name, or None: then it is one with label maps, or unknown."""
    sources = [*(declared_sources(cfg) if cfg is not None else ()), *built_in_sources(root)]
    return next((source for source in sources if source.name == name), None)


def training_kind(cfg: CfgNode) -> str:
    """What DATASETS.TRAIN holds: LABEL_MAPS, PAIRS, IMAGES or TARS.

    Raises:
        ValueError: sets of several kinds.
    """
    kinds = {name: _kind(name, cfg) for name in cfg.DATASETS.TRAIN}
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        raise ValueError(f"DATASETS.TRAIN mixes sets of several kinds: {listed}; train on one kind")
    return next(iter(kinds.values()), LABEL_MAPS)


def _kind(name: str, cfg: CfgNode) -> str:
    source = find_source(name, cfg)
    return source.kind if source else LABEL_MAPS


def _source(entry: Entry) -> PairSource:
    where, name, given = entry.where, entry.name, entry.fields
    tars = _tars(given.get("tars"), entry.folder, where)
    if find_spec(name) or any(source.name == name for source in built_in_sources()):
        raise ValueError(f"{where}: name {name!r} belongs to a data set of physseg; choose another")
    if bool(tars) == bool(given.get("images")):
        raise ValueError(f"{where}: it needs either images, a folder, or tars, webdataset shards")
    if tars and given.get("captions"):
        raise ValueError(f"{where}: captions goes with images; tars hold their own")
    if given.get("apart_from") and not given.get("captions"):
        raise ValueError(f"{where}: apart_from goes with captions, whose image ids it is about")
    return PairSource(name, tars=tars, **{field: entry.path(field) for field in _PATHS})


def _tars(value: Any, folder: Path, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, Sequence) or not all(isinstance(text, str) and text for text in values) or not values:
        raise ValueError(f"{where}: tars must be a path, a URL or a list of them, got {value!r}")
    remote = [("://" in text or text.startswith("pipe:")) for text in values]
    return tuple(
        text if away else str(folder / Path(text).expanduser()) for text, away in zip(values, remote, strict=True)
    )
