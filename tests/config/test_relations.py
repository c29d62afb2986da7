"""Relations between keys, each with values that break it; all else is as it must be."""

import pytest

from physseg.config import check_device, load_config
from physseg.config.relations import RELATIONS, clip_sizes

# What breaks a relation, and what the message must name.
BROKEN = [
    (["MODEL.CLIP.IMAGE_SIZE", 100], "MODEL.CLIP.IMAGE_SIZE must be a multiple of the CLIP's patch size"),
    (["MODEL.CLIP.LEVELS", [3]], "MODEL.CLIP.LEVELS must be empty, or two rising block indices"),
    (["MODEL.CLIP.LEVELS", [3, 11]], "MODEL.CLIP.LEVELS must be empty, or two rising block indices"),
    (["MODEL.AGGREGATION.WINDOW", 7], "MODEL.AGGREGATION.WINDOW must divide the token grid"),
    (["MODEL.AGGREGATION.POOLING", [1, 25]], "MODEL.AGGREGATION.POOLING must be at most the token grid"),
    (["TEST.POOLING", [25, 1]], "TEST.POOLING must be at most the token grid"),
    (["MODEL.GUIDANCE", "backbone", "MODEL.APPEARANCE.IMAGE_SIZE", 400], "APPEARANCE.IMAGE_SIZE must be 16 times"),
    (["MODEL.AGGREGATION.HEADS", 3], "MODEL.AGGREGATION.HEADS must divide MODEL.AGGREGATION.DIM"),
    (["MODEL.AGGREGATION.DECODER_DIMS", [64, 33]], "each of MODEL.AGGREGATION.DECODER_DIMS must be"),
    (["MODEL.AGGREGATION.DECODER_GUIDANCE_DIMS", [128, 16]], "DECODER_GUIDANCE_DIMS must be smaller"),
    (["MODEL.AGGREGATION.DECODER_GUIDANCE_DIMS", [32, 64]], "DECODER_GUIDANCE_DIMS must be smaller"),
    (["MODEL.STRUCTURE.ENABLED", True, "MODEL.STRUCTURE.DIM", 100], "MODEL.STRUCTURE.DIM must be a multiple of 16"),
    (["MODEL.STRUCTURE.MAPS_SOURCES", ["sift"]], "MODEL.STRUCTURE.MAPS_SOURCES must be among MODEL.STRUCTURE.SOURCES"),
    (["MODEL.STRUCTURE.MAPS_SOURCES", ["canny"]], "MODEL.STRUCTURE.MAPS_SOURCES needs MODEL.STRUCTURE.MAPS_ROOT"),
    (["MODEL.STRUCTURE.CANNY.THRESHOLDS", [2, 1]], "MODEL.STRUCTURE.CANNY.THRESHOLDS must be low <= high"),
    (["MODEL.STRUCTURE.SIFT.MIN_SIZE", 33], "MODEL.STRUCTURE.SIFT.MIN_SIZE must be at most"),
    (["INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"], "INPUT.MIN_SIZE_TRAIN must be two sizes"),
    (["INPUT.PAIRS.CROP_AREA", [0.9, 0.5]], "INPUT.PAIRS.CROP_AREA must be two shares"),
    (["MODEL.META_ARCHITECTURE", "SegCLIP", "INPUT.PAIRS.SIZE", 100], "INPUT.PAIRS.SIZE must be a multiple of"),
    (["MODEL.META_ARCHITECTURE", "ZeroSeg"], 'INPUT.PAIRS.CROP must be "centre"'),
    (["MODEL.META_ARCHITECTURE", "ZeroSeg", "INPUT.PAIRS.SIZE", 100], "must be a multiple of MODEL.ZEROSEG.ENCODER"),
    (["MODEL.META_ARCHITECTURE", "ZeroSeg", "MODEL.ZEROSEG.TEACHER.IMAGE_SIZE", 100], "TEACHER.IMAGE_SIZE must be a"),
    (["MODEL.ZEROSEG.ENCODER.HEADS", 7], "MODEL.ZEROSEG.ENCODER.HEADS must divide"),
    (["MODEL.ZEROSEG.RECONSTRUCTION.HEADS", 7], "MODEL.ZEROSEG.RECONSTRUCTION.DIM must be a multiple of 4 and of"),
    (["MODEL.ZEROSEG.TEACHER.GRIDS", [1]], "MODEL.ZEROSEG.MATCHING.WEIGHT must be 0 where"),
    (["MODEL.SEGCLIP.RECONSTRUCTION.HEADS", 7], "MODEL.SEGCLIP.RECONSTRUCTION.DIM must be a multiple of 4 and of"),
    (["MODEL.META_ARCHITECTURE", "ClipSegmenter", "ENGINE.COMPILE", True], "ENGINE.COMPILE must be False where"),
    (["TEST.GROUP_PURITY", True], "TEST.GROUP_PURITY must be False where"),
    (["MODEL.META_ARCHITECTURE", "SegCLIP", "TEST.PATCH_ACCURACY", True], "TEST.PATCH_ACCURACY must be False where"),
    (["INPUT.CROP.TYPE", "relative"], "INPUT.CROP.SIZE must be whole pixels"),
    (["INPUT.CROP.SIZE", [0.5, 0.5]], "INPUT.CROP.SIZE must be whole pixels"),
    (["SOLVER.ACCUMULATION_STEPS", 3], "SOLVER.IMS_PER_BATCH must be a positive multiple of SOLVER.ACCUMULATION_STEPS"),
    (["MODEL.META_ARCHITECTURE", "PACL", "SOLVER.IMS_PER_BATCH", 1], "SOLVER.IMS_PER_BATCH must be 2 or more where"),
    (["SOLVER.REFERENCE_WORLD_SIZE", 3], "SOLVER.IMS_PER_BATCH must be a multiple of SOLVER.REFERENCE_WORLD_SIZE"),
    (["SOLVER.BASE_LR_END", 1.0], "SOLVER.BASE_LR_END must be at most SOLVER.BASE_LR"),
    (["MODEL.DEVICE", "cpu", "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "fp16"], 'AMP.DTYPE must be "bf16"'),
    (["MODEL.DENSE.METHOD", "naclip"], 'MODEL.DENSE.METHOD must be "catseg" or "maskclip" where'),
    (["MODEL.TEXT.SYNONYMS", "max"], 'MODEL.TEXT.SYNONYMS must be "first" or "average" where'),
    (["MODEL.META_ARCHITECTURE", "ClipSegmenter", "TEST.PRECISION", "bf16"], 'TEST.PRECISION must not be "bf16" where'),
    (["TEST.WINDOW_STRIDE", 385], "TEST.WINDOW_STRIDE <= TEST.WINDOW_SIZE <= TEST.WINDOW_CANVAS"),
    (["TEST.WINDOW_CANVAS", 383], "TEST.WINDOW_STRIDE <= TEST.WINDOW_SIZE <= TEST.WINDOW_CANVAS"),
]  # fmt: skip


@pytest.mark.parametrize(("opts", "message"), BROKEN, ids=lambda part: None if isinstance(part, str) else str(part))
def test_a_broken_relation_names_keys_and_values(opts, message):
    with pytest.raises(ValueError, match="; got ") as error:
        load_config(None, opts)
    assert message in str(error.value)
    assert str(opts[-2]) in str(error.value).split("; got ")[1]


def test_every_relation_is_tried():
    untried = [r.says for r in RELATIONS if not any(message in r.says for _, message in BROKEN)]
    assert untried == []


def test_a_value_that_is_wrong_by_itself_is_told_once():
    with pytest.raises(ValueError, match="WINDOW") as error:
        load_config(None, ["MODEL.AGGREGATION.WINDOW", 0])
    assert "token grid" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "patch", "depth"), [("ViT-B-16-quickgelu", 16, 12), ("ViT-H-14", 14, 32), ("physseg-toy", 8, 6)]
)
def test_sizes_of_a_clip(name, patch, depth):
    assert clip_sizes(name) == (patch, depth)


def test_a_tower_that_is_no_vit_has_no_sizes():
    assert clip_sizes("RN50") is None
    assert clip_sizes("no such model") is None


def test_a_device_that_is_not_here():
    check_device("cpu")
    for device in ("cuda:99", "xpu:99"):
        with pytest.raises(ValueError, match=rf'MODEL.DEVICE is "{device}", which this machine does not have'):
            check_device(device)
