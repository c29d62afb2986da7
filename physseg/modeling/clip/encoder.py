"""CLIP as a dense encoder: image -> dense features and intermediate levels, names -> text features.

B images, T classes, P prompt templates, H W token grid, C width of the image transformer, E CLIP's embedding.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from open_clip import get_tokenizer
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from physseg.modeling.clip.dense_paths import DENSE_PATHS
from physseg.modeling.clip.finetune import set_trainable
from physseg.modeling.clip.plain_tower import PlainTower, to_map
from physseg.modeling.clip.pool_tower import PoolTower
from physseg.modeling.clip.statistics import image_statistics
from physseg.modeling.clip.weights import create_clip, is_causal, text_tower
from physseg.text.packed import PrefixTree, build_prefix_tree, encode_packed, text_block
from physseg.text.prompt_sets import PromptSets
from physseg.text.prompts import cut_prompts, resolve_templates, synonyms
from physseg.text.whole import encode_whole

# Prompts encoded at a time when no gradient is wanted: bounds memory for large vocabularies and many templates.
PROMPT_CHUNK = 1024
RESIZE_POSITIONS = ("each_forward", "once")

logger = logging.getLogger(__name__)


class ImageFeatures(NamedTuple):
    """dense: (B, E, H, W), the projected tokens; level1, level2: (B, C, H, W), tokens after the two level blocks."""

    dense: Tensor
    level1: Tensor
    level2: Tensor


class ClipEncoder(nn.Module):
    """Dense features and text features from one open_clip model: a plain CLIP, PE-Core or SigLIP 2.

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
        dense_path: one of `DENSE_PATHS`; an attention pool (PE-Core, SigLIP 2) has "maskclip" alone.
        resize_positions: "each_forward" keeps the positional embedding on the grid of pre-training and resizes it at
            every forward pass; "once" resizes it when CLIP's weights are read, to a parameter of the token grid.

    Attributes:
        tower: reads the image tower: a `PoolTower` where it ends in an attention pool (``pools``), else a `PlainTower`.
        mean, std: RGB statistics of its images in 0-255 units, by name and tag.

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
        resize_positions: str = "each_forward",
    ):
        super().__init__()
        if dense_path not in DENSE_PATHS:
            raise ValueError(f"MODEL.DENSE.METHOD: expected one of {tuple(DENSE_PATHS)}, got {dense_path!r}")
        if resize_positions not in RESIZE_POSITIONS:
            raise ValueError(
                f"MODEL.CLIP.RESIZE_POSITIONS: expected one of {RESIZE_POSITIONS}, got {resize_positions!r}"
            )
        stored_size = image_size if resize_positions == "once" else None
        self.model = create_clip(name, pretrained, load_weights, stored_size)
        self.pools = not isinstance(self.model.visual, VisionTransformer)
        self.tower = (PoolTower if self.pools else PlainTower)(self.model.visual, recompute)
        if self.pools and dense_path != "maskclip":
            raise ValueError(
                f"MODEL.DENSE.METHOD: {name} ends in an attention pool, whose one dense path is 'maskclip'; "
                f"got {dense_path!r}"
            )
        if self.pools and resize_positions != "each_forward":
            raise ValueError(f"MODEL.CLIP.RESIZE_POSITIONS: {name}, a tower of timm, has 'each_forward' alone")
        self.dense_path = dense_path
        self.name, self.mean, self.std = name, *image_statistics(name, pretrained)
        set_trainable(self.model, finetune, finetune_text)
        self.text_trains = finetune_text and finetune != "frozen"
        patch, depth = self.tower.patch, self.tower.depth
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
        self.width, self.embed_dim = self.tower.width, self.tower.embed_dim
        self.templates = resolve_templates(templates)
        if synonym_policy not in ("first", "average"):
            raise ValueError(f"MODEL.TEXT.SYNONYMS: expected 'first' or 'average', got {synonym_policy!r}")
        self.synonym_policy = synonym_policy
        self._run_text_block = text_block
        self._prompt_sets = PromptSets()

    def compile(self, **options) -> None:
        """Compile one block of each kind: the others have the same code."""
        self.tower.compile(**options)
        self._run_text_block = torch.compile(text_block, **options)

    def forward(self, images: Tensor) -> ImageFeatures:
        """Dense CLIP features, the last block being `dense_path`'s.

        Args:
            images: (B, 3, h, w), normalised with the encoder's mean and standard deviation; resized to `image_size`.
        """
        size = (self.image_size, self.image_size)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        last, levels, grid = self.tower.tokens(images, self.levels)
        dense = to_map(self.tower.dense(self.dense_path, last), grid, prefix=0)
        return ImageFeatures(dense, *(to_map(levels[level], grid, self.tower.prefix) for level in self.levels))

    @cached_property
    def tokenizer(self) -> Callable[[Sequence[str]], Tensor]:
        """Texts -> (N, context) token ids.

        Raises:
            ConnectionError: it is Hugging Face's (SigLIP 2) and neither on this machine nor to be had.
        """
        try:
            return get_tokenizer(self.name, context_length=text_tower(self.model).positional_embedding.shape[0])
        except OSError as error:
            raise ConnectionError(
                f"could not load the tokenizer of {self.name} ({error}). Without a network, put Hugging Face's cache "
                "of it on this machine (HF_HOME)."
            ) from error

    def encode_text(self, vocabulary: Sequence[str]) -> Tensor:
        """Text features of every name under every template.

        Returns:
            (T, P, E), L2 norm 1. Gradients flow to the text encoder where it trains.
        """
        text = text_tower(self.model)
        trains = torch.is_grad_enabled() and self.text_trains
        # Once per vocabulary is too seldom to compile for.
        run_block = self._run_text_block if trains else text_block

        def encode(part: PrefixTree | Tensor) -> Tensor:
            return encode_packed(text, part, run_block) if packed else encode_whole(text, part)

        packed, chunk = is_causal(self.model), 0 if trains else PROMPT_CHUNK
        names = (tuple(vocabulary), self.templates, self.synonym_policy)
        parts = self._prompt_sets.get(names, self.device, chunk, packed, lambda: self._tokenize(vocabulary))
        features = torch.cat([F.normalize(encode(part), dim=-1) for part in parts])
        features = features.view(-1, len(self.templates), self.embed_dim)
        if self.synonym_policy == "average":
            parts = features.split([len(synonyms(name)) for name in vocabulary])
            features = F.normalize(torch.stack([part.mean(0) for part in parts]), dim=-1)
        return features

    def encode_sentences(self, sentences: Sequence[str]) -> Tensor:
        """Text features of sentences as they are, such as captions; what exceeds CLIP's context is cut off.

        Returns:
            (N, E), L2 norm 1. Gradients flow to the text encoder where it trains.
        """
        text = text_tower(self.model)
        trains = torch.is_grad_enabled() and self.text_trains
        with torch.set_grad_enabled(trains):
            tokens = self.tokenizer(list(sentences))
            if not is_causal(self.model):
                return F.normalize(encode_whole(text, tokens.to(self.device)), dim=-1)
            tree = build_prefix_tree(tokens).to(self.device)
            return F.normalize(encode_packed(text, tree, self._run_text_block if trains else text_block), dim=-1)

    def _tokenize(self, vocabulary: Sequence[str]) -> Tensor:
        """Tokens (N, context) of every name's words, each under every template."""
        words = [synonyms(name) for name in vocabulary]
        if self.synonym_policy == "first":
            words = [w[:1] for w in words]
        prompts = [t.format(word) for group in words for word in group for t in self.templates]
        tokens = self.tokenizer(prompts)
        for prompt in cut_prompts(self.tokenizer, prompts, tokens):
            _warn_of_cut(prompt, tokens.shape[1])
        return tokens

    @property
    def device(self) -> torch.device:
        return self.tower.device

    def text_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that text features depend on."""
        image = {id(p) for p in self.model.visual.parameters()}
        return (p for p in self.model.parameters() if id(p) not in image)


@cache
def _warn_of_cut(prompt: str, length: int) -> None:
    """Once per prompt, however often it is encoded in training."""
    shown = prompt if len(prompt) < 100 else f"{prompt[:100]} ..."
    logger.warning("CLIP reads %d tokens; the end of this prompt is cut off: %r. Shorten its name.", length, shown)
