"""DATASETS.TRAIN's pairs or images -> records -> the stream of training samples."""

import logging
import os
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY

from physseg.data.pairs.lanes import TarLanes, TarLoader, count_lanes
from physseg.data.pairs.mapper import PairMapper
from physseg.data.pairs.records import (
    check_contrast,
    image_ids,
    read_coco_captions,
    read_image_folder,
    rearranged,
)
from physseg.data.pairs.sources import IMAGES, LABEL_MAPS, PAIRS, TARS, PairSource, find_source, training_kind
from physseg.data.pairs.tars import expand_tars
from physseg.data.pairs.teacher import TeacherMapper

logger = logging.getLogger(__name__)


def check_model_learns_from(cfg: CfgNode) -> None:
    """Check that the model can learn from what DATASETS.TRAIN holds.

    A meta-architecture says so by its attribute ``learns_from``: LABEL_MAPS (where it has none), PAIRS, or IMAGES, for
    which pairs do too.

    Raises:
        ValueError: it cannot.
    """
    name, kind = cfg.MODEL.META_ARCHITECTURE, training_kind(cfg)
    wanted = getattr(META_ARCH_REGISTRY.get(name), "learns_from", LABEL_MAPS)
    # What tars hold is seen when they are read.
    fitting = {LABEL_MAPS: (LABEL_MAPS,), PAIRS: (PAIRS, TARS), IMAGES: (PAIRS, IMAGES, TARS)}
    if kind not in fitting[wanted]:
        raise ValueError(
            f"MODEL.META_ARCHITECTURE {name} learns from {wanted}; DATASETS.TRAIN holds {kind}: "
            f"{', '.join(cfg.DATASETS.TRAIN)}"
        )


def wants_captions(cfg: CfgNode) -> bool:
    """Whether the model's samples carry captions."""
    return getattr(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), "learns_from", LABEL_MAPS) == PAIRS


def training_records(cfg: CfgNode) -> list[dict[str, Any]]:
    """Records of all sets of DATASETS.TRAIN, which hold pairs or images in files.

    Raises:
        FileNotFoundError, BrokenFileError, ValueError: as the readers in `records`; fewer images than expected.
    """
    records: list[dict[str, Any]] = []
    for name in cfg.DATASETS.TRAIN:
        source = find_source(name, cfg)
        found = read_records(source, cfg.DATALOADER.SKIP_BROKEN)
        if source.captions and wants_captions(cfg):
            check_contrast(found, name)
            found = rearranged(found, cfg.DATASETS.CAPTIONS, cfg.SEED)
        # Ids of two sets may be the same numbers.
        records += [dict(record, image_id=f"{name}/{record['image_id']}") for record in found]
    return records


def read_records(source: PairSource, skip_broken: bool = False) -> list[dict[str, Any]]:
    """Records of one set in files.

    Raises:
        FileNotFoundError, BrokenFileError: as the readers in `records`.
    """
    if not source.captions:
        return read_image_folder(source.images)
    apart = image_ids(source.apart_from) if source.apart_from and os.path.isfile(source.apart_from) else ()
    if source.apart_from and not apart:
        logger.warning("%s: no %s, so its images cannot be kept apart", source.name, source.apart_from)
    try:
        return read_coco_captions(source.captions, source.images, apart, skip_broken)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{source.name}: {error}. To get it: {source.prepare}") from None


def build_pair_mapper(cfg: CfgNode) -> PairMapper | TeacherMapper:
    """The mapper of a config whose model learns from pairs or images."""
    mapper = PairMapper(cfg, wants_captions(cfg))
    return TeacherMapper.from_config(cfg, mapper) if cfg.MODEL.META_ARCHITECTURE == "ZeroSeg" else mapper


def build_tar_loader(cfg: CfgNode, seed: int, rank: int, world_size: int, pin_memory: bool) -> TarLoader:
    """Loader of one process of webdataset tars, at their beginning.

    Raises:
        ImportError: the extra "pairs" is not installed.
        ValueError: the lanes cannot be shared out over the processes, or a key that fits files alone is set.
    """
    try:
        tars = expand_tars([tar for name in cfg.DATASETS.TRAIN for tar in find_source(name, cfg).tars])
    except ImportError as error:
        raise ImportError('tars need the package webdataset: pip install "physseg[pairs]"') from error
    if cfg.DATASETS.TRAIN_SHARE != 1:
        raise ValueError("DATASETS.TRAIN_SHARE: tars are taken whole; name fewer of them instead")
    if cfg.DATASETS.CAPTIONS != "one":
        raise ValueError(
            f'DATASETS.CAPTIONS must be "one" where captions come from tars; got {cfg.DATASETS.CAPTIONS!r}'
        )
    batch = cfg.SOLVER.IMS_PER_BATCH
    lanes = count_lanes(len(tars), batch, cfg.DATALOADER.LANES)
    if lanes % world_size:
        raise ValueError(
            f"{len(tars)} tars and a batch of {batch} make {lanes} lanes, which {world_size} processes cannot share: "
            "DATALOADER.LANES must allow a number that the processes divide, and there must be as many tars"
        )
    own = range(rank * lanes // world_size, (rank + 1) * lanes // world_size)
    logger.info("%d tars in %d lanes of %s", len(tars), lanes, ", ".join(cfg.DATASETS.TRAIN))
    captions, skip_broken = wants_captions(cfg), cfg.DATALOADER.SKIP_BROKEN
    stream = TarLanes(tars, build_pair_mapper(cfg), lanes, own, batch // lanes, seed, captions, skip_broken)
    return TarLoader(stream, cfg.DATALOADER.NUM_WORKERS, pin_memory)
