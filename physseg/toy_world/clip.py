"""The toy CLIPs: open_clip model "physseg-toy" and its shipped weights, by tag.

"toy" was pre-trained with a word-patch loss, so its patches fit their names from the start. In "toy-contrastive" the
contrastive loss alone has made image features, as in CLIP (docs/toy_world.md).

A weights file keeps, in half precision, the rows of the token embedding that captions of the toy world use, and
their ids; the other rows of the 49,408 are filled in on loading.
"""

import json
from pathlib import Path

import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor

MODEL_NAME = "physseg-toy"
WEIGHTS = {
    "toy": Path(__file__).with_name("physseg-toy.safetensors"),
    "toy-contrastive": Path(__file__).with_name("physseg-toy-contrastive.safetensors"),
}
"""Weights files by tag, MODEL.CLIP.PRETRAINED."""
WEIGHTS_PATH = WEIGHTS["toy"]
CONFIG_PATH = Path(__file__).with_name("physseg-toy.json")

TOKEN_EMBEDDING = "token_embedding.weight"
TOKEN_IDS = "token_ids"
_UNUSED_TOKEN_STD = 0.02  # open_clip's own initial scale


def register_toy_clip() -> str:
    """Make "physseg-toy" known to `open_clip.create_model` and `open_clip.get_tokenizer`; returns the name."""
    if MODEL_NAME not in open_clip.list_models():
        open_clip.add_model_config(CONFIG_PATH)
    return MODEL_NAME


def load_toy_clip_state_dict(path: str | Path | None = None) -> dict[str, Tensor]:
    """The whole float32 state dict of "physseg-toy", token rows expanded.

    Rows of tokens that no caption used are small random numbers, the same at every call.

    Args:
        path: weights file; None: the shipped one.

    Raises:
        FileNotFoundError: no such file; the message names the script that makes it.
    """
    path = Path(path or WEIGHTS_PATH)
    if not path.is_file():
        raise FileNotFoundError(f"toy CLIP weights {path} are missing; make them with tools/pretrain_toy_clip.py")
    state = load_file(path)
    token_ids = state.pop(TOKEN_IDS).long()
    rows = state[TOKEN_EMBEDDING].float()
    size = json.loads(CONFIG_PATH.read_text())["text_cfg"]["vocab_size"]
    table = torch.randn(size, rows.shape[1], generator=torch.Generator().manual_seed(0)) * _UNUSED_TOKEN_STD
    table[token_ids] = rows
    return {name: value.float() for name, value in state.items()} | {TOKEN_EMBEDDING: table}
