"""Pre-training of the toy CLIP on image-caption pairs of the toy world.

Two terms, both from captions alone. The first is CLIP's contrastive loss, where captions that name the same things
are each other's positives. The second aligns words with patches (in the spirit of FILIP, Yao et al. 2022, and PACL,
Mukhoti et al. 2023), since CAT-Seg reads dense features and a ViT this small does not align them by itself.

Pictures come in pools that a second process draws while the first trains; a pool depends on the seed and its number
only, so the run is repeatable.
"""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from physseg.data.processes import worker_pool
from physseg.io import atomic_write, write_json_atomic
from physseg.memory import keep_freed_memory
from physseg.toy_world.captions import TEMPLATES, random_prompt, sample_crop, sample_picture
from physseg.toy_world.clip import MODEL_NAME, TOKEN_IDS, register_toy_clip
from physseg.toy_world.pretrain_losses import contrastive_loss, patch_loss
from physseg.toy_world.towers import UsedTokens, encode_images, encode_text
from physseg.toy_world.vocabularies import COMPOSITIONS, swap_synonyms
from physseg.toy_world.zero_shot import normalize, zero_shot_accuracy

_DTYPE = torch.bfloat16  # of the network; the optimizer keeps float32 copies. Six times as fast where the CPU has AMX.
_NAMES = [composition.name for composition in COMPOSITIONS]


@dataclass(frozen=True)
class Recipe:
    """Settings of one run. Crops (48 px) cost a quarter of pictures (96 px) and teach the local appearance."""

    steps: int = 3000
    seed: int = 0
    crop_batch: int = 128
    picture_batch: int = 48
    # Every how many steps a step sees whole pictures instead of crops.
    picture_every: int = 4
    pool_crops: int = 8192
    pool_pictures: int = 1536
    passes: int = 2
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: int = 100
    # Of the word-patch loss; 0: CLIP's own loss alone.
    patch_weight: float = 1.0
    # With weights to start from, -1: all of them go on training. Else so many of their image blocks and their text
    # tower are kept as they are, and the image tower's later blocks and projection are learnt anew.
    kept_blocks: int = -1
    eval_every: int = 200
    eval_count: int = 200
    final_count: int = 3000

    def __post_init__(self) -> None:
        for pool, batch in (("pool_crops", "crop_batch"), ("pool_pictures", "picture_batch")):
            if getattr(self, pool) < getattr(self, batch):
                raise ValueError(
                    f"{pool} is {getattr(self, pool)}, less than {batch}, {getattr(self, batch)}: not one whole batch"
                )


@dataclass(frozen=True)
class Batch:
    """images uint8 (B, S, S, 3); tokens int64 (B, L); named, present: bool (B, 144)."""

    images: np.ndarray
    tokens: Tensor
    named: Tensor
    present: Tensor


def make_pool(seed: int, number: int, crops: int, pictures: int) -> tuple[list, list]:
    """Pairs of one pool, by seed and number alone: (images, captions, named, present) of crops and of pictures."""
    pools = []
    for kind, (sample, count) in enumerate(((sample_crop, crops), (sample_picture, pictures))):
        rng = np.random.default_rng([seed, number, kind])
        pairs = [sample(rng) for _ in range(count)]
        multi_hot = np.zeros((2, count, len(_NAMES)), bool)
        for i, pair in enumerate(pairs):
            multi_hot[0, i, list(pair.named)] = True
            multi_hot[1, i, list(pair.present)] = True
        pools.append([np.stack([p.image for p in pairs]), [p.caption for p in pairs], *multi_hot])
    return pools[0], pools[1]


def _batches(pool: list, tokens: UsedTokens, size: int, rng: np.random.Generator, passes: int) -> Iterator[Batch]:
    images, captions, named, present = pool
    rows = tokens(captions)
    for _ in range(passes):
        order = rng.permutation(len(images))
        for start in range(0, len(order) - size + 1, size):
            picked = order[start : start + size]
            chosen = images[picked]
            flipped = rng.random(size) < 0.5  # no name depends on left and right
            chosen[flipped] = chosen[flipped, :, ::-1]
            yield Batch(chosen, rows[picked], torch.from_numpy(named[picked]), torch.from_numpy(present[picked]))


def _stream(recipe: Recipe, tokens: UsedTokens) -> Iterator[tuple[Batch, Batch | None]]:
    """Endless batches: crops, and pictures at every ``picture_every``-th step."""
    with worker_pool(1) as drawer:
        sizes = (recipe.pool_crops, recipe.pool_pictures)
        pending = drawer.submit(make_pool, recipe.seed, 0, *sizes)
        number = 0
        while True:
            crops, pictures = pending.result()
            number += 1
            pending = drawer.submit(make_pool, recipe.seed, number, *sizes)
            rng = np.random.default_rng([recipe.seed, number, 2])
            crop_batches = _batches(crops, tokens, recipe.crop_batch, rng, recipe.passes)
            picture_batches = _batches(pictures, tokens, recipe.picture_batch, rng, recipe.passes)
            for turn in range(2**31):
                source = picture_batches if turn % recipe.picture_every == 0 else crop_batches
                batch = next(source, None)
                if batch is None:
                    break
                yield batch


def _build(recipe: Recipe) -> tuple[open_clip.CLIP, UsedTokens]:
    register_toy_clip()
    torch.manual_seed(recipe.seed)
    model = open_clip.create_model(MODEL_NAME)
    captions = [template.format(form) for template in TEMPLATES for n in _NAMES for form in (n, swap_synonyms(n))]
    tokens = UsedTokens([*captions, "a , a and a"], open_clip.get_tokenizer(MODEL_NAME))
    model.token_embedding = nn.Embedding(len(tokens.ids), model.token_embedding.embedding_dim)
    nn.init.normal_(model.token_embedding.weight, std=0.02)
    with torch.no_grad():
        model.visual.positional_embedding[1:] = 0.5 * _sine_grid(
            *model.visual.grid_size, model.visual.conv1.out_channels
        )
    return model, tokens


def _sine_grid(rows: int, cols: int, width: int) -> Tensor:
    """(rows * cols, width) sines and cosines of row and column: a start from which shapes are learnt sooner."""
    rates = 100 ** (-torch.arange(width // 4) / (width // 4))
    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    angles = torch.cat([row.reshape(-1, 1) * rates, col.reshape(-1, 1) * rates], dim=1)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _start_from(model: open_clip.CLIP, tokens: UsedTokens, start: Path, kept_blocks: int) -> None:
    """Load weights of an earlier run, all or the kept ones; the latter are frozen."""
    state = load_file(start)
    ids = state.pop(TOKEN_IDS, None)
    if ids is None:
        raise ValueError(f"{start} holds no toy CLIP; expected what an earlier run has written")
    if not torch.equal(ids.long(), tokens.ids):
        raise ValueError(f"{start} was made with other names or captions; pre-train from the beginning")
    if kept_blocks >= 0:
        blocks = [f"visual.transformer.resblocks.{index}." for index in range(kept_blocks)]
        later = ("visual.transformer.", "visual.ln_post.", "visual.proj", "logit_scale")
        state = {name: v for name, v in state.items() if name.startswith(tuple(blocks)) or not name.startswith(later)}
    model.load_state_dict({name: value.float() for name, value in state.items()}, strict=kept_blocks < 0)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(kept_blocks < 0 or name not in state)


class _MasterWeights:
    """AdamW on float32 copies of a bfloat16 model's weights; frozen ones are left alone."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.masters = {name: p.detach().clone() for name, p in model.named_parameters()}
        scale = model.logit_scale.data
        model.to(_DTYPE)
        model.logit_scale.data = scale
        self.working = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._trained = [self.masters[name].requires_grad_() for name in self.working]
        decayed = [p for p in self._trained if p.ndim > 1]
        others = [p for p in self._trained if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)

    def step(self, rate: float) -> None:
        for name, parameter in self.working.items():
            self.masters[name].grad = parameter.grad.float()
            parameter.grad = None
        nn.utils.clip_grad_norm_(self._trained, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        with torch.no_grad():
            for name, parameter in self.working.items():
                parameter.copy_(self.masters[name])


def _rate(step: int, recipe: Recipe) -> float:
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.warmup) / max(recipe.steps - recipe.warmup, 1)))


def _evaluate(model: open_clip.CLIP, tokens: UsedTokens, count: int, seed: int) -> dict:
    model.eval()
    with torch.no_grad():
        text = encode_text(model, tokens([TEMPLATES[0].format(name) for name in _NAMES]))
        result = zero_shot_accuracy(lambda images: encode_images(model.visual, images.to(_DTYPE)), text, count, seed)
    model.train()
    return result


def _loss(model: open_clip.CLIP, tokens: UsedTokens, batch: Batch, rng: np.random.Generator, weight: float) -> dict:
    images = normalize(batch.images)
    free = model.visual.grid_size[0] - images.shape[-1] // model.visual.patch_size[0]
    corner = (int(rng.integers(free + 1)), int(rng.integers(free + 1)))
    prompts = tokens([random_prompt(rng, name) for name in _NAMES])
    pooled, dense = encode_images(model.visual, images.to(_DTYPE), corner)
    captions = encode_text(model, batch.tokens)
    names = encode_text(model, prompts)
    pooled, dense, captions, names = (F.normalize(x.float(), dim=-1) for x in (pooled, dense, captions, names))
    scale = model.logit_scale.exp().clamp_max(100)
    # Every composition is a caption of every batch: the hard negatives differ in one attribute.
    all_named = torch.cat([batch.named, torch.eye(len(_NAMES), dtype=torch.bool)])
    contrastive = contrastive_loss(pooled, torch.cat([captions, names]), all_named, scale)
    if not weight:
        return {"total": contrastive, "contrastive": contrastive}
    patches = patch_loss(dense, names, batch.present, scale)
    return {"total": contrastive + weight * patches, "contrastive": contrastive, "patches": patches}


def pretrain(recipe: Recipe, weights: Path, log: Path, metrics: Path, start: Path | None = None) -> dict:
    """Train, write ``weights`` (safetensors), ``log`` (JSON lines) and ``metrics`` (JSON); returns the metrics.

    Args:
        start: weights of an earlier run to go on from; take another seed then, to see other pictures.

    Raises:
        ValueError: ``start`` was made with other names or captions.
    """
    keep_freed_memory()
    model, tokens = _build(recipe)
    if start is not None:
        _start_from(model, tokens, start, recipe.kept_blocks)
    weights32 = _MasterWeights(model, recipe)
    rng = np.random.default_rng([recipe.seed, 3])
    began = time.monotonic()
    records = []
    model.train()
    progress = tqdm(zip(range(recipe.steps), _stream(recipe, tokens), strict=False), total=recipe.steps)
    for step, batch in progress:
        losses = _loss(model, tokens, batch, rng, recipe.patch_weight)
        losses["total"].backward()
        weights32.step(recipe.learning_rate * _rate(step, recipe))
        if (step + 1) % recipe.eval_every == 0 or step + 1 == recipe.steps:
            record = {"step": step + 1, "seconds": round(time.monotonic() - began)}
            record |= {"pixels": batch.images.shape[1]} | {f"loss_{k}": round(v.item(), 4) for k, v in losses.items()}
            record |= _evaluate(model, tokens, recipe.eval_count, seed=0)
            records.append(record)
            with atomic_write(log) as temporary:
                temporary.write_text("".join(json.dumps(r) + "\n" for r in records))
            _save(weights32.masters, tokens, weights)
            progress.write(json.dumps(record))
    result = {"recipe": asdict(recipe), "seconds": round(time.monotonic() - began), "threads": torch.get_num_threads()}
    result |= {"zero_shot": _evaluate(model, tokens, recipe.final_count, seed=1)}
    write_json_atomic(metrics, result)
    return result


def _save(masters: dict[str, Tensor], tokens: UsedTokens, path: Path) -> None:
    state = {name: value.detach().half() for name, value in masters.items()}
    with atomic_write(path) as temporary:
        save_file(state | {TOKEN_IDS: tokens.ids.to(torch.int32)}, temporary)
