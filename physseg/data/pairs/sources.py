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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from physseg.config.yaml_files import read_yaml
from physseg.data.specs import datasets_root, find_spec

_FIELDS = ("name", "captions", "images", "apart_from", "tars")
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
    entries = [_read_entry(entry, f"DATASETS.PAIRS[{index}]") for index, entry in enumerate(cfg.DATASETS.PAIRS)]
    names = [entry.name for entry in entries]
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise ValueError(f"DATASETS.PAIRS names {', '.join(doubles)} more than once")
    return tuple(entries)


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


def _read_entry(entry: Mapping[str, Any] | str, where: str) -> PairSource:
    folder = Path()
    if isinstance(entry, str):
        path = Path(entry).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"{where}: no file {path}; expected a YAML file with {', '.join(_FIELDS)}")
        where, folder, entry = str(path), path.parent, read_yaml(path)
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: expected a mapping with {', '.join(_FIELDS)}, got {type(entry).__name__}")
    unknown = sorted(set(map(str, entry)) - set(_FIELDS))
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; it takes {', '.join(_FIELDS)}")
    name, tars = str(entry.get("name") or ""), _tars(entry.get("tars"), folder, where)
    if not name:
        raise ValueError(f"{where}: no name")
    if find_spec(name) or any(source.name == name for source in built_in_sources()):
        raise ValueError(f"{where}: name {name!r} belongs to a data set of physseg; choose another")
    if bool(tars) == bool(entry.get("images")):
        raise ValueError(f"{where}: it needs either images, a folder, or tars, webdataset shards")
    if tars and entry.get("captions"):
        raise ValueError(f"{where}: captions goes with images; tars hold their own")
    if entry.get("apart_from") and not entry.get("captions"):
        raise ValueError(f"{where}: apart_from goes with captions, whose image ids it is about")
    paths = {
        key: os.path.normpath(folder / Path(str(entry[key])).expanduser())
        for key in ("captions", "images", "apart_from")
        if entry.get(key)
    }
    return PairSource(name, tars=tars, **paths)


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
