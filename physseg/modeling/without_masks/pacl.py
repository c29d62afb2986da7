"""PACL ("Patch Aligned Contrastive Learning", Mukhoti et al., CVPR 2023): patches learn names from captions alone.

The equations, numbered here (the paper's text was not at hand; docs/without_masks.md marks what is our choice):

    (1)  p_i = e_v(x_i), unit length, x_i the token of patch i of frozen CLIP
    (2)  s_i = cos(p_i, t), t the frozen text feature of a caption
    (3)  a_i = softmax_i(s_i / pooling temperature)
    (4)  v = sum_i a_i p_i
    (5)  phi(image, text) = cos(v, t)
    (6)  symmetric InfoNCE over phi / tau of all images and texts of the batch

At test a patch's score of a class is (2), with the mean of the class's prompts as t.

B images, b of this process, N = H W patches, T texts, D width of CLIP's image tower, C embedding.
"""

from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from physseg.data.pairs.sources import PAIRS
from physseg.dtypes import at_least_float32
from physseg.losses.contrastive import ContrastiveLoss, gather_rows
from physseg.losses.similarity import patch_text_similarity
from physseg.modeling.chunks import recomputed
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.clip.plain_tower import to_map
from physseg.modeling.clip_segmenter import ClipSegmenter
from physseg.modeling.dense_protocol import segmenter_parts

# Numbers of (4), for so many pairs of image and text at a time: 64 MB.
_PAIR_NUMBERS = 1 << 24


class VisionEmbedder(nn.Module):
    """e_v of (1), the one part that trains: Linear(D -> C), ReLU, Linear(C -> C), and a linear skip D -> C."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, dim), nn.ReLU(), nn.Linear(dim, dim))
        self.skip = nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., C), unit length, float32 at least."""
        x = self.layers(x) + self.skip(x)
        return F.normalize(at_least_float32(x), dim=-1)


class PaclFeatures(nn.Module):
    """Images -> p of (1). CLIP's blocks run without gradient.

    Args:
        clip: its image tower is read; nothing of it is registered here.
        stride: of the patch embedding in pixels, at test; a smaller one than the patch's gives a finer grid: 4 turns
            400x400 pixels into 97x97 tokens.

    Raises:
        ValueError: an image tower that ends in an attention pool.
    """

    def __init__(self, clip: ClipEncoder, stride: int) -> None:
        super().__init__()
        if clip.pools:
            raise ValueError(
                f"MODEL.CLIP.NAME: PACL reads the tokens of a plain CLIP, such as ViT-B-16-quickgelu; {clip.name} ends "
                "in an attention pool"
            )
        self.tower, self.stride = clip.tower, stride
        self.embedder = VisionEmbedder(clip.width, clip.embed_dim)

    @torch.no_grad()
    def tokens(self, images: Tensor, stride: int) -> tuple[Tensor, tuple[int, int]]:
        """Patch tokens behind CLIP's last norm, before its projection: (B, 3, s, t) -> (B, N, D), and (H, W)."""
        x, grid = self.tower.embed_patches(images, stride=stride)
        x = self.tower.run(self.tower.blocks, x)
        return self.tower.visual.ln_post(x[:, 1:]), grid

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, s, t), normalised -> (B, C, s / stride, t / stride), rounded: a map that covers the images evenly."""
        x, grid = self.tokens(images, self.stride)
        features = to_map(self.embedder(x), grid, prefix=0)
        for dim in (-2, -1):
            features = spread(features, dim, images.shape[dim], self.tower.patch, self.stride)
        return features


def spread(x: Tensor, dim: int, pixels: int, patch: int, stride: int) -> Tensor:
    """Tokens of overlapping patches -> cells that cover all pixels evenly, along one dimension.

    Token i has its centre at pixel patch / 2 + i stride, so that the first and the last lie further inside than cells
    of that size would: resized as they are, they would be up to (patch - stride) / 2 pixels off. Linear interpolation
    between centres; beyond the outer ones their value.
    """
    cells = max(1, round(pixels / stride))
    if cells == x.shape[dim]:
        return x
    centres = (torch.arange(cells, device=x.device, dtype=x.dtype) + 0.5) * (pixels / cells)
    place = ((centres - patch / 2) / stride).clamp(0, x.shape[dim] - 1)
    low = place.long()
    shape = [1] * x.ndim
    shape[dim] = cells
    share = (place - low).view(shape)
    high = (low + 1).clamp(max=x.shape[dim] - 1)
    return x.index_select(dim, low).lerp(x.index_select(dim, high), share)


def compatibility(patches: Tensor, texts: Tensor, temperature: float) -> Tensor:
    """phi of (5) for every image and every text, a few texts at a time.

    Args:
        patches: (b, N, C) of (1). texts: (T, C), unit length.
        temperature: of the pooling, (3).

    Returns:
        (b, T) in [-1, 1].
    """
    b, n, c = patches.shape
    size = max(1, _PAIR_NUMBERS // (b * max(n, c)))
    return torch.cat([recomputed(_compatibility, patches, part, temperature) for part in texts.split(size)], 1)


def _compatibility(patches: Tensor, texts: Tensor, temperature: float) -> Tensor:
    similarity = patch_text_similarity(patches, texts)  # (2): (b, N, t)
    weights = (similarity / temperature).softmax(1)  # (3)
    pooled = weights.transpose(1, 2) @ patches  # (4): (b, t, C)
    return F.cosine_similarity(pooled, texts, dim=-1)  # (5)


@META_ARCH_REGISTRY.register()
class PACL(ClipSegmenter):
    """Trains `VisionEmbedder` on image-caption pairs; at test a `ClipSegmenter` with its features.

    Args:
        features: e_v on the encoder.
        stride: of the patch embedding in training, in pixels.
        pooling_temperature: of (3).
        temperature: initial tau of (6), which is learnt.
        parts: CLIP sees a batch in so many parts.
        segmenter: arguments of `ClipSegmenter`.
    """

    needs_training = True
    learns_from = PAIRS
    splits_batches = True

    @configurable
    def __init__(
        self,
        *,
        features: PaclFeatures,
        stride: int,
        pooling_temperature: float = 1.0,
        temperature: float = 0.07,
        parts: int = 1,
        **segmenter: Any,
    ) -> None:
        super().__init__(features=features, **segmenter)
        self.contrast = ContrastiveLoss(temperature)
        self.stride, self.pooling_temperature, self.parts = stride, pooling_temperature, parts
        features.embedder.requires_grad_(True)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        segmenter, node = segmenter_parts(cfg), cfg.MODEL.PACL
        clip = segmenter["clip"]
        return segmenter | {
            "features": PaclFeatures(clip, node.TEST_STRIDE or clip.tower.patch),
            "stride": node.STRIDE or clip.tower.patch,
            "pooling_temperature": node.POOLING_TEMPERATURE,
            "temperature": node.TEMPERATURE,
            "parts": cfg.SOLVER.ACCUMULATION_STEPS,
        }

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """``loss_contrastive`` in training, predictions at test (`ClipSegmenter.forward`).

        Args:
            batched_inputs: in training per sample ``image`` (3, S, S), ``caption`` and ``image_id``
                (physseg.data.pairs).
        """
        return self.losses(batched_inputs) if self.training else self.predict(batched_inputs)

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """(6), over the batches of all processes.

        Raises:
            KeyError: a sample without a caption.
            ValueError: one pair alone.
        """
        if any("caption" not in x for x in batched_inputs):
            raise KeyError("PACL learns from captions: every sample needs 'caption' (physseg.data.pairs)")
        captions = [x["caption"] for x in batched_inputs]
        images = torch.stack([self._normalise(x["image"]) for x in batched_inputs])
        patches = torch.cat([self._patches(part) for part in images.chunk(self.parts)])
        texts = gather_rows(self.clip.encode_sentences(captions).to(patches.dtype))
        with torch.autocast(patches.device.type, enabled=False):
            phi = compatibility(patches, texts, self.pooling_temperature)
            return {"loss_contrastive": self.contrast(phi, [x["image_id"] for x in batched_inputs], captions)}

    def _patches(self, images: Tensor) -> Tensor:
        """p of (1). Of a part of a batch its tokens alone are kept for the backward pass, as CLIP is frozen."""
        tokens, _ = self.features.tokens(images, self.stride)
        return recomputed(self.features.embedder, tokens) if self.parts > 1 else self.features.embedder(tokens)
