"""Weights and images of the reference numbers of NACLIP, SC-CLIP and SFP: functions of names and seeds alone."""

import json
from pathlib import Path

import torch
from torch import Tensor

from tests.reference import golden

SHARED = Path(__file__).resolve().parents[3] / "shared"
NACLIP, SCCLIP, SFP = (SHARED / f"golden_{name}" for name in ("naclip", "scclip", "sfp"))
AT_HAND = all(folder.is_dir() for folder in (NACLIP, SCCLIP, SFP))

# Multiplied, because without it a wrong resizing of positions, last attention or text feature would hardly show.
FACTORS = {
    "visual.positional_embedding": 10,
    "visual.transformer.resblocks.11.attn.in_proj_weight": 2,
    "token_embedding.weight": 8,
} | {f"transformer.resblocks.{index}.attn.in_proj_weight": 2 for index in range(12)}
MEAN, STD = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)

V20 = golden.VOC20
V6 = ["sky, wall, tree, grass, road", "aeroplane", "bicycle, bike", "bird", "person, man, woman", "sofa"]


def write_weights(path: Path) -> Path:
    """OpenAI's ViT-B/16 as a file of weights under OpenAI's names."""
    shapes = json.loads((NACLIP / "vitb16_state_dict_shapes.json").read_text())
    state = {name: golden.fill(name, torch.empty(shape)) * FACTORS.get(name, 1) for name, shape in shapes.items()}
    torch.save(state, path)
    return path


def image(height: int, width: int, seed: int) -> Tensor:
    """(1, 3, height, width), normalised."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return ((golden.image(height, width, seed) - mean) / std)[None]
