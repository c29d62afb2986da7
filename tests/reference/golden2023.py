"""Reference numbers of CAT-Seg's 2023 design: weights, images and labels by rule, and our arrays beside theirs.

Weights and images follow `golden`; what is new: norms' running statistics, position indices, and a vocabulary with
synonyms under 80 templates.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from physseg import PhysSeg, load_config
from physseg.modeling.catseg.cost_volume import cost_volume
from physseg.modeling.catseg.names import is_computed, to_catseg, to_physseg
from physseg.modeling.encoded import EncodedBatch
from tests.reference import golden

WORDS = [
    *("aeroplane", "bicycle", "bird", "door, double door", "boat", "bottle", "bus", "car", "cat", "building, edifice"),
    *("chair", "cow", "table", "rug, carpet, carpeting", "dog", "horse", "motorbike", "person", "plant", "sheep"),
    *("screen, silver screen, projection screen", "sofa", "train", "tvmonitor"),
]
# Variant -> config and what differs from it: the lightest model with Swin-B was not published.
VARIANTS = {
    "vitb16_swinb": (
        "catseg_2023_vitl14_swinb.yaml",
        ("MODEL.CLIP.NAME", "ViT-B-16-quickgelu", "MODEL.CLIP.IMAGE_SIZE", 384, "MODEL.SWIN.DROP_PATH", 0.0),
    ),
    "vitb16_r101": ("catseg_2023_vitb16_r101.yaml", ()),
}
HEIGHT, WIDTH = 480, 640
# Rounding, and what the reference's own in double precision showed, with room: by array.
TOLERANCES = {
    **dict.fromkeys(("clip_input", "backbone_input"), 5e-5),
    **dict.fromkeys(("text_feats", "text_guidance"), 1e-6),
    **dict.fromkeys(("img_feats", "res4", "res3", "res2"), 1e-4),
    **dict.fromkeys(("cost_volume", "cost_embedding"), 5e-6),
    **dict.fromkeys(("guidance_res4", "guidance_res3", "guidance_res2"), 1e-4),
    **dict.fromkeys(("layer0_spatial", "layer0", "layer1_spatial", "layer1"), 2e-4),
    **dict.fromkeys(("decoder1", "logits"), 1e-4),
    "sem_seg": 2e-5,
}


def fill(name: str, tensor: Tensor) -> Tensor:
    """Values for one published parameter or statistic."""
    if is_computed(name):
        return tensor
    values = golden.fill(name, tensor)
    return values + 1 if name.endswith("running_var") else values


def build_model(variant: str, shapes: Mapping[str, Sequence[int]], configs: Path) -> PhysSeg:
    """The config's model with the reference weights.

    Raises:
        AssertionError: its published names and shapes are not `shapes`.
    """
    config, opts = VARIANTS[variant]
    cfg = load_config(
        configs / config,
        [
            *("MODEL.CLIP.PRETRAINED", "", "MODEL.SWIN.PRETRAINED", "", "MODEL.APPEARANCE.WEIGHTS", ""),
            *("MODEL.TEXT.VOCABULARY", "pas20", "MODEL.DEVICE", "cpu", "TEST.SLIDING_WINDOW", False, *opts),
        ],
    )
    model = PhysSeg(cfg)
    model.vocabulary = tuple(WORDS)
    published, unknown = to_catseg(model.state_dict(), packed=True)
    expected = {name: list(shape) for name, shape in shapes.items() if not is_computed(name)}
    assert not unknown
    assert {name: list(value.shape) for name, value in published.items()} == expected
    weights, _ = to_physseg({name: fill(name, value) for name, value in published.items()})
    model.load_state_dict(weights)
    return model.eval()


class Found(NamedTuple):
    """arrays: ours by the reference's names, cut as the reference's. labels: (240, 320)."""

    arrays: dict[str, np.ndarray]
    labels: np.ndarray


@torch.no_grad()
def evaluate(model: PhysSeg, window: Mapping | None) -> Found:
    """The model's answer for the reference image, and every array on the way there."""
    squares, encodings, logits, backbone = [], [], [], []
    encode, decode = model._encode, model._decode

    def recording_encode(square: Tensor, *args):
        squares.append(square)
        encodings.append(encode(square, *args))
        return encodings[-1]

    def recording_decode(*args):
        logits.append(decode(*args))
        return logits[-1]

    model.window, model._encode, model._decode = window, recording_encode, recording_decode
    handle = model.guidance.backbone.register_forward_pre_hook(lambda _, args: backbone.append(args[0]))
    (answer,) = model([{"image": golden.image(HEIGHT, WIDTH), "height": HEIGHT, "width": WIDTH}])
    handle.remove()
    del model._encode, model._decode
    model.window = None
    text = model.text_features(WORDS)
    size = (model.clip.image_size,) * 2
    parts = [
        {
            "clip_input": F.interpolate(square, size, mode="bilinear", align_corners=False)[:, :, ::24, ::24],
            "backbone_input": seen[:, :, ::24, ::24],
            "logits": part.dense()[..., ::4, ::4],
            **dict(inner_arrays(model, encoded, text)),
        }
        for square, seen, encoded, part in zip(squares, backbone, encodings, logits, strict=True)
    ]
    arrays = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    arrays |= {"text_feats": text[None, ..., ::16], "text_guidance": arrays["text_guidance"][:1]}
    arrays["sem_seg"] = answer["sem_seg"][:, ::8, ::8]
    labels = answer["sem_seg"].argmax(0)[::2, ::2]
    return Found({name: value.numpy() for name, value in arrays.items()}, labels.numpy())


def inner_arrays(model: PhysSeg, encoded: EncodedBatch, text: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Aggregation and decoder step by step, without slices and folded weights."""
    aggregation, decoder, maps = model.aggregation, model.decoder, encoded.guidance
    yield "img_feats", encoded.dense[:, :, ::6, ::6]
    guidance = F.relu(aggregation.image_guidance(maps["g3"]))
    finer = [F.relu(project(maps[level])) for project, level in zip(decoder.guidance, ("g4", "g5"), strict=True)]
    for name, level, projected, step, channels in (
        ("res4", "g3", guidance, 4, 4),
        ("res3", "g4", finer[0], 8, 2),
        ("res2", "g5", finer[1], 16, 2),
    ):
        yield name, maps[level][:, ::4, ::step, ::step]
        yield f"guidance_{name}", projected[:, ::channels, ::step, ::step]
    words = F.relu(aggregation.text_guidance(F.normalize(text.mean(1), dim=-1)))[None]
    yield "text_guidance", words
    cost = cost_volume(encoded.dense, text[None])
    yield "cost_volume", cost[:, :, ::8, ::6, ::6]

    def cut(tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (24, 24))[:, :, ::6, ::6, ::8].permute(0, 1, 4, 2, 3)

    x = aggregation.embedded(cost)
    yield "cost_embedding", cut(x)
    guidance = guidance.flatten(2).transpose(1, 2)
    for index, layer in enumerate(aggregation.layers):
        x = layer.spatial(x, *layer.spatial.guidance_terms(guidance))
        yield f"layer{index}_spatial", cut(x)
        x = layer.classes(x, words, 24, model.test_pooling, 96)
        yield f"layer{index}", cut(x)
    (b, t), first = x.shape[:2], decoder.stages[0]
    up = first.up(x.transpose(2, 3).reshape(b * t, -1, 24, 24))
    y = torch.cat([up, finer[0].repeat_interleave(t, dim=0)], dim=1)
    y = F.relu(first.norm1(first.conv1(y)))
    y = F.relu(first.norm2(first.conv2(y)))
    yield "decoder1", y.view(b, t, 64, 48, 48)[:, :, ::8, ::12, ::12]


def differences(found: Found, reference: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Largest absolute difference of every array of an evaluation case."""
    return {name: float(np.abs(ours - reference[name]).max()) for name, ours in found.arrays.items()}


def leads_of_other_labels(found: Found, reference: Mapping[str, np.ndarray]) -> np.ndarray:
    """The reference's lead of its label at every pixel where ours is another."""
    return reference["margin"].astype(np.float32)[found.labels != reference["argmax"]]


def train_step(model: PhysSeg) -> tuple[float, dict[str, Tensor]]:
    """Loss of the training case, and the gradient of every trained parameter by its published name."""
    model.train()
    model.zero_grad()
    sample = {"image": golden.image(384, 384), "sem_seg": golden.labels(classes=len(WORDS))[0]}
    loss = model([sample])["loss_sem_seg"]
    loss.backward()
    model.eval()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    published, unknown = to_catseg(gradients, packed=True)
    assert not unknown
    return loss.item(), published


def worst_norm(gradients: Mapping[str, Tensor], norms: Mapping[str, float]) -> tuple[float, str]:
    """Largest relative difference of a gradient's norm, and the parameter.

    A bias that all keys share moves every score of a query alike: its true gradient is zero, and left out here.
    """
    return max(
        (abs(gradients[name].norm().item() - norm) / norm, name) for name, norm in norms.items() if not _no_effect(name)
    )


def largest_without_effect(gradients: Mapping[str, Tensor]) -> float:
    """Largest norm of a gradient that is zero but for rounding."""
    return max(gradient.norm().item() for name, gradient in gradients.items() if _no_effect(name))


def _no_effect(name: str) -> bool:
    return "swin_block" in name and name.endswith("attn.k.bias")


def cut_gradient(gradient: Tensor) -> Tensor:
    """As the reference stores one."""
    steps = {1: (8,), 2: (7, 7), 4: (5, 8)}[gradient.ndim]
    return gradient[tuple(slice(None, None, step) for step in steps)]


def read_json(path: Path) -> dict:
    return json.loads(path.read_text())
