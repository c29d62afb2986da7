"""A small model for tests: the toy CLIP's sizes with random weights."""

from pathlib import Path

import torch
from detectron2.modeling import build_model

from physseg.config import load_config

CONFIG = Path(__file__).parents[1] / "configs" / "toy.yaml"
OPTS = (
    *("MODEL.CLIP.PRETRAINED", "", "MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", 96),
    *("MODEL.AGGREGATION.DIM", 32, "MODEL.AGGREGATION.GUIDANCE_DIM", 32),
    *("MODEL.AGGREGATION.DECODER_DIMS", [16, 16], "MODEL.AGGREGATION.DECODER_GUIDANCE_DIMS", [8, 8]),
)


def save_weights(path: Path) -> Path:
    """Random weights, the same at every call, that give every class its own map."""
    torch.manual_seed(0)
    model = build_model(load_config(CONFIG, (*OPTS, "MODEL.TEXT.VOCABULARY", "pas20")))
    torch.save({"model": model.state_dict()}, path)
    return path
