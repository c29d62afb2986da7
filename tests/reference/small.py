"""A small PhysSeg and the plain formulation with the same weights."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import open_clip
import torch
from torch import Tensor

from physseg import PhysSeg
from physseg.modeling.catseg.aggregation import CostAggregation
from physseg.modeling.catseg.decoder import Decoder
from physseg.modeling.catseg.guidance import ClipGuidance
from physseg.modeling.catseg.names import to_catseg, to_physseg
from physseg.modeling.clip.encoder import ClipEncoder
from tests.reference import golden
from tests.reference.plain_catseg import PlainCATSeg, PlainConfig

WORDS = (*golden.VOC20, "sky", "grass", "tree", "wall, facade")
TEMPLATES = ("A photo of a {} in the scene", "{} seen from far away", "one {}")
WINDOW = {"size": 384, "stride": 256, "canvas": 640, "keep_aspect": False}
# Grid 6 in windows of 3; positional embedding from a grid of 4; class attention padded to 16.
SMALL = PlainConfig(48, 8, 4, 32, 4, 2, (0, 2), 24, 32, 2, 2, True, 1, 64, 3, 16)
NAME = "physseg-test-small"


def small_clip(layers: int = 4) -> str:
    """Make SMALL's CLIP known to open_clip, with as many image blocks; returns its name."""
    name = NAME if layers == 4 else f"{NAME}-{layers}"
    if name not in open_clip.list_models():
        vision = {"image_size": 32, "layers": layers, "width": 32, "head_width": 16, "patch_size": 8}
        text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
        content = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.json"
            path.write_text(json.dumps(content))
            open_clip.add_model_config(path)
    return name


def build_pair(
    classes: int = 5, templates: int = 1, dtype: torch.dtype = torch.float32, **options
) -> tuple[PhysSeg, PlainCATSeg]:
    """Both models with golden's weights, in evaluation mode.

    Args:
        classes: of WORDS, the model's vocabulary. templates: P. options: more arguments of PhysSeg.
    """
    config = PlainConfig(**{**SMALL.__dict__, "templates": templates})
    plain = PlainCATSeg(config)
    plain.load_state_dict(golden.fill_state_dict(plain.state_dict()))
    clip = ClipEncoder(small_clip(), "", config.image_size, templates=TEMPLATES[:templates])
    e = clip.embed_dim
    model = PhysSeg(
        clip=clip,
        guidance=ClipGuidance(clip.width, e),
        aggregation=CostAggregation(
            templates, e, e, clip.grid, config.dim, config.dim, 2, 4, config.window, config.pad_classes
        ),
        decoder=Decoder(config.dim),
        vocabulary=WORDS[:classes],
        pixel_mean=PlainCATSeg.mean,
        pixel_std=PlainCATSeg.std,
        max_classes=config.pad_classes,
        **options,
    )
    state, unknown = to_physseg(plain.state_dict())
    assert not unknown
    model.load_state_dict(state)
    if dtype == torch.float64:
        model.double(), plain.double()
        # Rounded to single precision before.
        model.pixel_mean = torch.tensor(PlainCATSeg.mean, dtype=dtype).view(3, 1, 1)
        model.pixel_std = torch.tensor(PlainCATSeg.std, dtype=dtype).view(3, 1, 1)
    trained, _ = to_catseg({name: p for name, p in model.named_parameters() if p.requires_grad})
    for name, parameter in plain.named_parameters():
        parameter.requires_grad_(name in trained)
    return model.eval(), plain


def tokens(model: PhysSeg, words: Sequence[str]) -> Tensor:
    """(T, P, 77) token ids of every word's first synonym under every template."""
    prompts = [t.format(word.split(",")[0].strip()) for word in words for t in model.clip.templates]
    return model.clip.tokenizer(prompts).view(len(words), len(model.clip.templates), -1)
