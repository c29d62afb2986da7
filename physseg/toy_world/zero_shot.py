"""Zero-shot accuracy of a CLIP on held-out pictures of the toy world, by attribute and per patch.

Letters: B pictures, K the 144 names, P patches, C embedding size.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from physseg.toy_world.captions import SCENE_SIDE, background_scene, single_object_scene
from physseg.toy_world.scenes import render, sample_scene
from physseg.toy_world.vocabularies import BACKGROUNDS, COMPOSITIONS, THINGS

MEAN = (122.7709383, 116.7460125, 104.09373615)
STD = (68.5005327, 66.6321579, 70.3231630)

# Pre-training draws from seeds that are lists of three numbers; this one is apart from all of them.
_HELD_OUT_SEED = 2**40


def normalize(images: np.ndarray | Tensor) -> Tensor:
    """uint8 (B, H, W, 3) RGB -> float32 (B, 3, H, W) by CLIP's statistics."""
    images = torch.as_tensor(images).permute(0, 3, 1, 2).float()
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def held_out_pictures(
    sample: Callable[[np.random.Generator], tuple], count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """``count`` pictures uint8 (B, 96, 96, 3) of ``single_object_scene`` or ``background_scene`` and their indices."""
    rng = np.random.default_rng([_HELD_OUT_SEED, seed])
    scenes = [sample(rng) for _ in range(count)]
    images = np.stack([render(scene, SCENE_SIDE, SCENE_SIDE).image for scene, _ in scenes])
    return images, np.array([index for _, index in scenes])


def attribute_accuracy(predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Shares of pictures whose whole name, colour, texture (or material) and shape are right.

    Args: composition indices (B,), of any integer type.
    """
    pairs = [(COMPOSITIONS[p], COMPOSITIONS[t]) for p, t in zip(predicted, truth, strict=True)]
    result = {"name": float(np.mean([p == t for p, t in pairs]))}
    for field in ("colour", "texture", "shape"):
        result[field] = float(np.mean([getattr(p, field) == getattr(t, field) for p, t in pairs]))
    return result


def zero_shot_accuracy(
    encode: Callable[[Tensor], tuple[Tensor, Tensor]], text: Tensor, count: int, seed: int = 0, patch: int = 8
) -> dict[str, dict[str, float]]:
    """Accuracy on held-out objects, backgrounds and, per patch, scenes; always among all 144 names.

    Args:
        encode: normalised float (B, 3, 96, 96) -> pooled (B, C), dense (B, P, C).
        text: features (144, C) of the names in the order of COMPOSITIONS.
        count: pictures of single objects; a third as many backgrounds and scenes.

    Returns:
        ``objects``, ``backgrounds``: `attribute_accuracy`. ``patches``: share of patches given the name that covers
        most of them, over ``things`` and ``backgrounds``, in held-out scenes.
    """
    text = F.normalize(text.float(), dim=-1)

    def run(images: np.ndarray) -> tuple[Tensor, Tensor]:
        chunks = [encode(normalize(images[i : i + 64])) for i in range(0, len(images), 64)]
        pooled, dense = (torch.cat(parts).float() for parts in zip(*chunks, strict=True))
        return (pooled @ text.T).argmax(-1), (F.normalize(dense, dim=-1) @ text.T).argmax(-1)

    result = {}
    samplers = {"objects": (single_object_scene, count), "backgrounds": (background_scene, count // 3)}
    for name, (sample, number) in samplers.items():
        images, truth = held_out_pictures(sample, number, seed)
        result[name] = attribute_accuracy(run(images)[0].numpy(), truth)
    rng = np.random.default_rng([_HELD_OUT_SEED, seed, 1])
    renderings = [
        render(sample_scene(rng, THINGS, BACKGROUNDS), SCENE_SIDE, SCENE_SIDE) for _ in range(max(count // 3, 1))
    ]
    truth = np.stack([_patch_labels(r.composition_map(), patch) for r in renderings]).reshape(len(renderings), -1)
    right = run(np.stack([r.image for r in renderings]))[1].numpy() == truth
    things = truth < len(THINGS)
    result["patches"] = {"things": float(right[things].mean()), "backgrounds": float(right[~things].mean())}
    return result


def _patch_labels(labels: np.ndarray, patch: int) -> np.ndarray:
    """(H, W) -> (H / patch, W / patch): the most frequent label of each patch."""
    rows, cols = labels.shape[0] // patch, labels.shape[1] // patch
    blocks = labels.reshape(rows, patch, cols, patch).swapaxes(1, 2).reshape(rows, cols, -1)
    counts = (blocks[..., None] == np.arange(len(COMPOSITIONS))).sum(2)
    return counts.argmax(-1)
