"""How keys fit together. Each row names its keys, says what must hold, and tells it from their values.

A relation is asked only if each of its values is allowed by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple


@dataclass(frozen=True)
class Relation:
    """``holds`` takes the values of ``keys``, in their order; ``says`` is the message where it is False."""

    keys: tuple[str, ...]
    says: str
    holds: Callable[..., bool]


class Sizes(NamedTuple):
    """Of a CLIP's image tower. patch: side in pixels. depth: blocks."""

    patch: int
    depth: int


@cache
def clip_sizes(name: str) -> Sizes | None:
    """Sizes that open_clip lists; None for a tower that is no plain ViT."""
    import open_clip

    from physseg.config.names import clip_models

    if name not in clip_models():
        return None
    vision = open_clip.get_model_config(name)["vision_cfg"]
    patch, depth = vision.get("patch_size"), vision.get("layers")
    return Sizes(patch, depth) if isinstance(patch, int) and isinstance(depth, int) else None


def _whole_patches(name: str, side: int) -> bool:
    sizes = clip_sizes(name)
    return sizes is None or side % sizes.patch == 0


def _grid(name: str, side: int) -> int | None:
    return side // clip_sizes(name).patch if clip_sizes(name) and _whole_patches(name, side) else None


def _levels_exist(name: str, levels: list[int]) -> bool:
    sizes = clip_sizes(name)
    return not levels or (len(levels) == 2 and (sizes is None or levels[1] < sizes.depth - 1))


def _divides_grid(name: str, side: int, window: int) -> bool:
    grid = _grid(name, side)
    return grid is None or grid % window == 0


def _within_grid(name: str, side: int, pooling: list[int]) -> bool:
    grid = _grid(name, side)
    return grid is None or max(pooling) <= grid


def _fits_backbone(guidance: str, name: str, side: int, appearance: int) -> bool:
    grid = _grid(name, side)
    return guidance != "backbone" or grid is None or appearance == 16 * grid


def _crop_fits_type(enabled: bool, kind: str, size: list[float]) -> bool:
    whole = all(isinstance(side, int) for side in size)
    return not enabled or (max(size) <= 1 if kind.startswith("relative") else whole)


def _group_norm_fits(dims: list[int]) -> bool:
    return all(dim % max(dim // 16, 1) == 0 for dim in dims)


_CLIP = ("MODEL.CLIP.NAME", "MODEL.CLIP.IMAGE_SIZE")
_STRUCTURE = "MODEL.STRUCTURE"
_AGGREGATION = "MODEL.AGGREGATION"

# fmt: off
RELATIONS: tuple[Relation, ...] = (
    Relation(_CLIP, "MODEL.CLIP.IMAGE_SIZE must be a multiple of the CLIP's patch size", _whole_patches),
    Relation(("MODEL.CLIP.NAME", "MODEL.CLIP.LEVELS"),
             "MODEL.CLIP.LEVELS must be empty, or two rising block indices below the CLIP's last block", _levels_exist),
    Relation((*_CLIP, f"{_AGGREGATION}.WINDOW"),
             f"{_AGGREGATION}.WINDOW must divide the token grid, MODEL.CLIP.IMAGE_SIZE over the patch size",
             _divides_grid),
    Relation((*_CLIP, f"{_AGGREGATION}.POOLING"), f"{_AGGREGATION}.POOLING must be at most the token grid",
             _within_grid),
    Relation((*_CLIP, "TEST.POOLING"), "TEST.POOLING must be at most the token grid", _within_grid),
    Relation(("MODEL.GUIDANCE", *_CLIP, "MODEL.APPEARANCE.IMAGE_SIZE"),
             "MODEL.APPEARANCE.IMAGE_SIZE must be 16 times the token grid, MODEL.CLIP.IMAGE_SIZE over the patch size",
             _fits_backbone),
    Relation((f"{_AGGREGATION}.DIM", f"{_AGGREGATION}.HEADS"), f"{_AGGREGATION}.HEADS must divide {_AGGREGATION}.DIM",
             lambda dim, heads: dim % heads == 0),
    Relation((f"{_AGGREGATION}.DECODER_DIMS",),
             f"each of {_AGGREGATION}.DECODER_DIMS must be a multiple of its sixteenth, rounded down (GroupNorm)",
             _group_norm_fits),
    Relation((f"{_AGGREGATION}.DIM", f"{_AGGREGATION}.DECODER_DIMS", f"{_AGGREGATION}.DECODER_GUIDANCE_DIMS"),
             f"{_AGGREGATION}.DECODER_GUIDANCE_DIMS must be smaller than what they are joined to: DIM, then "
             "DECODER_DIMS[0]",
             lambda dim, dims, guidance: guidance[0] < dim and guidance[1] < dims[0]),
    Relation((f"{_STRUCTURE}.ENABLED", f"{_STRUCTURE}.NORM", f"{_STRUCTURE}.DIM"),
             f'{_STRUCTURE}.DIM must be a multiple of 16 where {_STRUCTURE}.NORM is "GN", which has 32 groups of 2 DIM',
             lambda on, norm, dim: not on or norm != "GN" or dim % 16 == 0),
    Relation((f"{_STRUCTURE}.SOURCES", f"{_STRUCTURE}.MAPS_SOURCES"),
             f"{_STRUCTURE}.MAPS_SOURCES must be among {_STRUCTURE}.SOURCES",
             lambda sources, ready: set(ready) <= set(sources)),
    Relation((f"{_STRUCTURE}.MAPS_SOURCES", f"{_STRUCTURE}.MAPS_ROOT"),
             f"{_STRUCTURE}.MAPS_SOURCES needs {_STRUCTURE}.MAPS_ROOT, the folder that tools/make_structure_labels.py "
             "wrote",
             lambda ready, root: bool(root) or not ready),
    Relation((f"{_STRUCTURE}.CANNY.THRESHOLDS",), f"{_STRUCTURE}.CANNY.THRESHOLDS must be low <= high",
             lambda thresholds: thresholds[0] <= thresholds[1]),
    Relation((f"{_STRUCTURE}.SIFT.MIN_SIZE", f"{_STRUCTURE}.SIFT.MAX_SIZE"),
             f"{_STRUCTURE}.SIFT.MIN_SIZE must be at most {_STRUCTURE}.SIFT.MAX_SIZE", lambda low, high: low <= high),
    Relation(("MODEL.META_ARCHITECTURE", "ENGINE.COMPILE"),
             "ENGINE.COMPILE must be False where MODEL.META_ARCHITECTURE is not PhysSeg: its stages are compiled",
             lambda arch, on: not on or arch not in ("ClipSegmenter", "PACL", "SegCLIP", "ZeroSeg")),
    Relation(("MODEL.META_ARCHITECTURE", "TEST.GROUP_PURITY"),
             "TEST.GROUP_PURITY must be False where MODEL.META_ARCHITECTURE is neither SegCLIP nor ZeroSeg",
             lambda arch, on: not on or arch in ("SegCLIP", "ZeroSeg")),
    Relation(("MODEL.META_ARCHITECTURE", "TEST.PATCH_ACCURACY"),
             "TEST.PATCH_ACCURACY must be False where MODEL.META_ARCHITECTURE is SegCLIP or ZeroSeg, which have groups",
             lambda arch, on: not on or arch not in ("SegCLIP", "ZeroSeg")),
    Relation(("MODEL.META_ARCHITECTURE", "MODEL.CLIP.NAME", "INPUT.PAIRS.SIZE"),
             "INPUT.PAIRS.SIZE must be a multiple of the CLIP's patch size where MODEL.META_ARCHITECTURE is SegCLIP",
             lambda arch, name, side: arch != "SegCLIP" or _whole_patches(name, side)),
    Relation(("MODEL.SEGCLIP.RECONSTRUCTION.DIM", "MODEL.SEGCLIP.RECONSTRUCTION.HEADS"),
             "MODEL.SEGCLIP.RECONSTRUCTION.DIM must be a multiple of 4 and of MODEL.SEGCLIP.RECONSTRUCTION.HEADS",
             lambda dim, heads: dim % 4 == 0 and dim % heads == 0),
    Relation(("MODEL.META_ARCHITECTURE", "MODEL.ZEROSEG.ENCODER.PATCH", "INPUT.PAIRS.SIZE"),
             "INPUT.PAIRS.SIZE must be a multiple of MODEL.ZEROSEG.ENCODER.PATCH where MODEL.META_ARCHITECTURE is "
             "ZeroSeg",
             lambda arch, patch, side: arch != "ZeroSeg" or side % patch == 0),
    Relation(("MODEL.META_ARCHITECTURE", "INPUT.PAIRS.CROP", "INPUT.PAIRS.FLIP"),
             'INPUT.PAIRS.CROP must be "centre" and INPUT.PAIRS.FLIP False where MODEL.META_ARCHITECTURE is ZeroSeg: '
             "the teacher's views are cut from the middle square",
             lambda arch, crop, flip: arch != "ZeroSeg" or (crop == "centre" and not flip)),
    Relation(("MODEL.META_ARCHITECTURE", "MODEL.CLIP.NAME", "MODEL.ZEROSEG.TEACHER.IMAGE_SIZE"),
             "MODEL.ZEROSEG.TEACHER.IMAGE_SIZE must be a multiple of the CLIP's patch size where "
             "MODEL.META_ARCHITECTURE is ZeroSeg",
             lambda arch, name, side: arch != "ZeroSeg" or _whole_patches(name, side)),
    Relation(("MODEL.ZEROSEG.ENCODER.DIM", "MODEL.ZEROSEG.ENCODER.HEADS"),
             "MODEL.ZEROSEG.ENCODER.HEADS must divide MODEL.ZEROSEG.ENCODER.DIM", lambda dim, heads: dim % heads == 0),
    Relation(("MODEL.ZEROSEG.RECONSTRUCTION.DIM", "MODEL.ZEROSEG.RECONSTRUCTION.HEADS"),
             "MODEL.ZEROSEG.RECONSTRUCTION.DIM must be a multiple of 4 and of MODEL.ZEROSEG.RECONSTRUCTION.HEADS",
             lambda dim, heads: dim % 4 == 0 and dim % heads == 0),
    Relation(("MODEL.ZEROSEG.TEACHER.GRIDS", "MODEL.ZEROSEG.MATCHING.WEIGHT"),
             "MODEL.ZEROSEG.MATCHING.WEIGHT must be 0 where MODEL.ZEROSEG.TEACHER.GRIDS is [1]: nothing is left",
             lambda grids, weight: not weight or grids != [1]),
    Relation(("INPUT.MIN_SIZE_TRAIN", "INPUT.MIN_SIZE_TRAIN_SAMPLING"),
             'INPUT.MIN_SIZE_TRAIN must be two sizes, rising, where INPUT.MIN_SIZE_TRAIN_SAMPLING is "range"',
             lambda sizes, how: how != "range" or (len(sizes) == 2 and sizes[0] <= sizes[1])),
    Relation(("INPUT.PAIRS.CROP_AREA",), "INPUT.PAIRS.CROP_AREA must be two shares, the first at most the second",
             lambda area: area[0] <= area[1]),
    Relation(("INPUT.CROP.ENABLED", "INPUT.CROP.TYPE", "INPUT.CROP.SIZE"),
             "INPUT.CROP.SIZE must be whole pixels for the absolute types and shares up to 1 for the relative ones",
             _crop_fits_type),
    Relation(("SOLVER.IMS_PER_BATCH", "SOLVER.ACCUMULATION_STEPS"),
             "SOLVER.IMS_PER_BATCH must be a positive multiple of SOLVER.ACCUMULATION_STEPS",
             lambda batch, steps: batch % steps == 0),
    Relation(("MODEL.META_ARCHITECTURE", "SOLVER.IMS_PER_BATCH"),
             "SOLVER.IMS_PER_BATCH must be 2 or more where MODEL.META_ARCHITECTURE contrasts pairs (PACL, SegCLIP)",
             lambda arch, batch: batch > 1 or arch not in ("PACL", "SegCLIP")),
    Relation(("SOLVER.IMS_PER_BATCH", "SOLVER.REFERENCE_WORLD_SIZE"),
             "SOLVER.IMS_PER_BATCH must be a multiple of SOLVER.REFERENCE_WORLD_SIZE",
             lambda batch, processes: not processes or batch % processes == 0),
    Relation(("SOLVER.BASE_LR", "SOLVER.BASE_LR_END"), "SOLVER.BASE_LR_END must be at most SOLVER.BASE_LR",
             lambda start, end: end <= start),
    Relation(("SOLVER.AMP.ENABLED", "SOLVER.AMP.DTYPE", "MODEL.DEVICE"),
             'SOLVER.AMP.DTYPE must be "bf16" where MODEL.DEVICE is "cpu": fp16 needs a GPU',
             lambda on, dtype, device: not (on and dtype == "fp16" and device == "cpu")),
    Relation(("MODEL.META_ARCHITECTURE", "MODEL.DENSE.METHOD"),
             'MODEL.DENSE.METHOD must be "catseg" or "maskclip" where MODEL.META_ARCHITECTURE is PhysSeg',
             lambda arch, method: arch != "PhysSeg" or method in ("catseg", "maskclip")),
    Relation(("MODEL.META_ARCHITECTURE", "MODEL.TEXT.SYNONYMS"),
             'MODEL.TEXT.SYNONYMS must be "first" or "average" where MODEL.META_ARCHITECTURE is PhysSeg',
             lambda arch, policy: arch != "PhysSeg" or policy != "max"),
    Relation(("MODEL.META_ARCHITECTURE", "TEST.PRECISION"),
             'TEST.PRECISION must not be "bf16" where MODEL.META_ARCHITECTURE is ClipSegmenter: it has float32 alone',
             lambda arch, precision: arch != "ClipSegmenter" or precision != "bf16"),
    Relation(("TEST.WINDOW_STRIDE", "TEST.WINDOW_SIZE", "TEST.WINDOW_CANVAS"),
             "they must be TEST.WINDOW_STRIDE <= TEST.WINDOW_SIZE <= TEST.WINDOW_CANVAS",
             lambda stride, size, canvas: stride <= size <= canvas),
)
