"""Symmetric InfoNCE of images and texts (CLIP, Radford et al., ICML 2021) over the whole batch of all processes.

Letters: B pairs of all processes, b those of this one, C embedding.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.utils import comm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from physseg.dtypes import at_least_float32
from physseg.losses.temperature import held_scale, log_scale_parameter

logger = logging.getLogger(__name__)


def info_nce(logits: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE: half of -mean_i log softmax_j(l_ij)[i], half of -mean_j log softmax_i(l_ij)[j].

    Computed in float32 at least.

    Args:
        logits: (B, B), image i against text j, temperature included; pairs stand on the diagonal.
        excluded: (B, B) bool, what is no negative; its diagonal is False. Symmetric where it comes from `siblings`.

    Returns:
        Scalar. 0 where nothing is a negative.

    Example:

        >>> info_nce(torch.zeros(2, 2)).item()  # log 2
        0.6931471824645996
    """
    logits = at_least_float32(logits)
    if excluded is not None:
        logits = logits.masked_fill(excluded, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def siblings(*keys: Tensor) -> Tensor:
    """Which pairs are no negatives of each other: those that share an image, or a caption.

    Args:
        keys: (B,) int64 each, such as those of the images and those of the captions (`keys_of`).

    Returns:
        (B, B) bool; the diagonal is False.
    """
    same = torch.stack([key[:, None] == key for key in keys]).any(0)
    return same.fill_diagonal_(False)


def keys_of(values: Sequence[int | str]) -> Tensor:
    """(n,) int64 numbers that are equal where the values are; the same in every process."""
    digests = (hashlib.blake2b(repr(value).encode(), digest_size=8).digest() for value in values)
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests], dtype=torch.int64)


class _GatherRows(torch.autograd.Function):
    """Rows of all processes; the gradient of a row is the sum over what every process made of it."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(comm.get_world_size())]
        torch.distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.contiguous()
        torch.distributed.all_reduce(grad)
        return grad.chunk(comm.get_world_size())[comm.get_rank()]


def gather_rows(x: Tensor) -> Tensor:
    """(b, ...) -> (B, ...): the rows of all processes in their order, with gradients; b is the same in all.

    If every process takes the same loss of them, parameters get its gradient once DistributedDataParallel has averaged.
    """
    return _GatherRows.apply(x) if comm.get_world_size() > 1 else x


def embed_in_parts(
    embed: Callable[[Sequence[dict[str, Any]]], tuple[Tensor, ...]], batch: Sequence[dict[str, Any]], parts: int
) -> tuple[Tensor, ...]:
    """``embed(batch)``, with the activations of one part of the batch in memory at a time.

    A contrastive loss needs the embeddings of the whole batch at once, so the mean of the parts' losses is another
    loss. As in GradCache (Gao et al., RepL4NLP 2021) embeddings are made without keeping what the gradient needs, and
    each part is computed again when the backward pass comes to it: the same numbers for a second forward pass.

    Args:
        embed: samples -> tensors with a row for each; random numbers are the same in both passes.
        parts: equal ones; 1: nothing is computed twice.

    Raises:
        ValueError: the batch does not divide.
    """
    if len(batch) % parts:
        raise ValueError(
            f"A process's batch of {len(batch)} cannot be split into SOLVER.ACCUMULATION_STEPS = {parts} equal parts."
        )
    if parts == 1 or not torch.is_grad_enabled():
        return embed(batch)
    size = len(batch) // parts
    rows = [checkpoint(embed, batch[i : i + size], use_reentrant=False) for i in range(0, len(batch), size)]
    return tuple(torch.cat(tensors) for tensors in zip(*rows, strict=True))


class ContrastiveLoss(nn.Module):
    """The learnt temperature, and `info_nce` over all processes.

    Args:
        temperature: initial tau; 1 / tau is held at 100 at most (both as CLIP).
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.log_scale = log_scale_parameter(temperature, "MODEL.PACL.TEMPERATURE")

    def forward(self, similarity: Tensor, images: Sequence[int | str], texts: Sequence[str]) -> Tensor:
        """Loss of the whole batch, the same in every process.

        Args:
            similarity: (b, B), this process's images against the texts of all processes (`gather_rows`).
            images: ids of this process's images: the same id marks siblings.
            texts: their captions: equal ones are no negatives either.

        Raises:
            ValueError: the batch is a single pair.
        """
        similarity = gather_rows(similarity)
        if len(similarity) < 2:
            raise ValueError(
                "a contrastive loss needs two pairs at least; this batch is one: raise SOLVER.IMS_PER_BATCH"
            )
        # One tensor, so that the processes exchange it once.
        keys = torch.stack([keys_of(images), keys_of(texts)], 1).to(similarity.device)
        excluded = siblings(*gather_rows(keys).T)
        if similarity.device.type == "cpu" and excluded.sum() == len(excluded) * (len(excluded) - 1):
            logger.warning(
                "All %d pairs of this batch share their image or their caption (%r, ...): nothing is a negative, the "
                "loss is 0 and teaches nothing. Check the captions.",
                *(len(excluded), texts[0][:80]),
            )
        return info_nce(held_scale(self.log_scale) * similarity, excluded)
