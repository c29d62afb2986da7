"""CLIP as a dense encoder: image -> dense features and intermediate levels, names -> text features.

B images, T classes, P prompt templates, H W token grid, C width of the image transformer, E CLIP's embedding.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from open_clip import get_tokenizer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from physseg.modeling.clip.dense_paths import DENSE_PATHS
from physseg.modeling.clip.finetune import set_trainable
from physseg.modeling.clip.weights import create_clip, text_tower
from physseg.text.packed import build_prefix_tree, encode_packed, text_block
from physseg.text.prompts import resolve_templates, synonyms

# Prompts encoded at a time when no gradient is wanted: bounds memory for large vocabularies and many templates.
PROMPT_CHUNK = 1024


class ImageFeatures(NamedTuple):
    """dense: (B, E, H, W), the projected tokens; level1, level2: (B, C, H, W), tokens after the two level blocks."""

    dense: Tensor
    level1: Tensor
    level2: Tensor


class ClipEncoder(nn.Module):
    """Dense CLIP features and text features from one open_clip model.

    Args:
        name, pretrained: as in `create_clip`.
        image_size: side in pixels of the square that the encoder sees.
        levels: two block indices, counted from 0; empty: the blocks that end the first and the second third.
        finetune: which weights train (`set_trainable`).
        templates: prompt templates or names of template sets.
        synonym_policy: "first" prompts a name's first synonym, "average" averages the features of all of them.
        load_weights: False leaves random weights; a checkpoint is loaded afterwards.
        recompute: recompute the transformer blocks in the backward pass instead of keeping their activations.
        finetune_text: False freezes the text encoder whatever `finetune` says.
        dense_path: one of `DENSE_PATHS`.

    Raises:
        ValueError: an argument that does not fit the model, naming the configuration key.
    """

    def __init__(
        self,
        name: str,
        pretrained: str = "",
        image_size: int = 384,
        levels: Sequence[int] = (),
        finetune: str = "attention",
        templates: Sequence[str] = ("single",),
        synonym_policy: str = "first",
        load_weights: bool = True,
        recompute: bool = False,
        finetune_text: bool = True,
        dense_path: str = "catseg",
    ):
        super().__init__()
        if dense_path not in DENSE_PATHS:
            raise ValueError(f"MODEL.DENSE.METHOD: expected one of {tuple(DENSE_PATHS)}, got {dense_path!r}")
        self.dense_path = dense_path
        self.model = create_clip(name, pretrained, load_weights)
        set_trainable(self.model, finetune, finetune_text)
        self.text_trains = finetune_text and finetune != "frozen"
        visual = self.model.visual
        patch, depth = visual.patch_size[0], len(visual.transformer.resblocks)
        if image_size % patch:
            raise ValueError(f"MODEL.CLIP.IMAGE_SIZE: expected a multiple of {name}'s patch {patch}, got {image_size}")
        self.image_size = image_size
        self.grid = image_size // patch
        # B/16: 3 and 7, L/14: 7 and 15, as CAT-Seg; H/14 (32 blocks): 10 and 20.
        self.levels = tuple(levels) or (round(depth / 3) - 1, round(2 * depth / 3) - 1)
        if len(self.levels) != 2 or not 0 <= self.levels[0] < self.levels[1] < depth - 1:
            raise ValueError(
                f"MODEL.CLIP.LEVELS: expected two rising block indices below {depth - 1} for {name}, got {self.levels}"
            )
        self.width = visual.conv1.out_channels
        self.embed_dim = visual.output_dim
        self.templates = resolve_templates(templates)
        if synonym_policy not in ("first", "average"):
            raise ValueError(f"MODEL.TEXT.SYNONYMS: expected 'first' or 'average', got {synonym_policy!r}")
        self.synonym_policy = synonym_policy
        self.tokenizer = get_tokenizer(name, context_length=text_tower(self.model).positional_embedding.shape[0])
        self.recompute = recompute
        self._run_block, self._run_text_block = _block, text_block

    def compile(self, **options) -> None:
        """Compile one image block and one text block: the others have the same code."""
        self._run_block = torch.compile(_block, **options)
        self._run_text_block = torch.compile(text_block, **options)

    def forward(self, images: Tensor) -> ImageFeatures:
        """Dense CLIP features, the last block being `dense_path`'s.

        Args:
            images: (B, 3, h, w), normalised with CLIP's mean and standard deviation; resized to `image_size`.
        """
        visual = self.model.visual
        size = (self.image_size, self.image_size)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        x = visual.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([visual.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
        x = visual.ln_pre(x + self._positional_embedding().to(x.dtype))
        kept = {}
        *blocks, last = visual.transformer.resblocks
        for index, block in enumerate(blocks):
            recompute = self.recompute and torch.is_grad_enabled()
            x = checkpoint(self._run_block, block, x, use_reentrant=False) if recompute else self._run_block(block, x)
            if index in self.levels:
                kept[index] = self._to_map(x)
        x = DENSE_PATHS[self.dense_path](last, x)
        x = visual.ln_post(x) @ visual.proj
        return ImageFeatures(self._to_map(x), *(kept[level] for level in self.levels))

    def encode_text(self, vocabulary: Sequence[str]) -> Tensor:
        """Text features of every name under every template.

        Returns:
            (T, P, E), L2 norm 1. Gradients flow to the text encoder where it trains.
        """
        words = [synonyms(name) for name in vocabulary]
        if self.synonym_policy == "first":
            words = [w[:1] for w in words]
        prompts = [t.format(word) for group in words for word in group for t in self.templates]
        tokens = self.tokenizer(prompts)
        text = text_tower(self.model)
        trains = torch.is_grad_enabled() and self.text_trains
        chunk = len(tokens) if trains else PROMPT_CHUNK
        # Once per vocabulary is too seldom to compile for.
        run_block = self._run_text_block if trains else text_block
        trees = (build_prefix_tree(part).to(self.device) for part in tokens.split(chunk))
        features = torch.cat([F.normalize(encode_packed(text, tree, run_block), dim=-1) for tree in trees])
        features = features.view(-1, len(self.templates), self.embed_dim)
        if self.synonym_policy == "average":
            parts = features.split([len(group) for group in words])
            features = F.normalize(torch.stack([part.mean(0) for part in parts]), dim=-1)
        return features

    @property
    def device(self) -> torch.device:
        return self.model.visual.class_embedding.device

    def text_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that text features depend on."""
        image = {id(p) for p in self.model.visual.parameters()}
        return (p for p in self.model.parameters() if id(p) not in image)

    def _positional_embedding(self) -> Tensor:
        """(1 + H * W, C), resized bicubically from the grid of pre-training."""
        visual = self.model.visual
        embedding, native = visual.positional_embedding, visual.grid_size
        if native == (self.grid, self.grid):
            return embedding
        patches = embedding[1:].T.reshape(1, -1, *native)
        patches = F.interpolate(patches, size=(self.grid, self.grid), mode="bicubic", align_corners=False)
        return torch.cat([embedding[:1], patches[0].flatten(1).T])

    def _to_map(self, x: Tensor) -> Tensor:
        """(B, 1 + H * W, C) -> (B, C, H, W), a view; CLS dropped."""
        return x[:, 1:].unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2)


def _block(block: nn.Module, x: Tensor) -> Tensor:
    x = x + block.ls_1(block.attn(block.ln_1(x)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))
