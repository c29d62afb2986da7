"""Packed text encoding: every distinct prompt prefix once, no padding, the last layer for EOT alone.

CLIP's text encoder is causal: a token's state depends on the tokens before it alone. So prompts that begin alike
("A photo of a ...") share the states of their common beginning, tokens after EOT are never needed, and the last
block's queries, output and MLP are needed at EOT only. All three are exact.

N prompts, L tokens of the longest one, M distinct prefixes (nodes of the prefix tree), C channels.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from physseg.modeling.clip.attention import attention
from physseg.modeling.clip.split_attention import SplitAttention
from physseg.text.whole import project_text


class PrefixTree(NamedTuple):
    """Distinct prefixes of a set of prompts.

    tokens, positions: (M,) token id and position of each node. paths: (N, L) node at each position of each prompt
    (positions after EOT repeat EOT's node). rows: (M,) a flat index into (N, L) where each node stands.
    ends: (N,) EOT's node of each prompt.
    """

    tokens: Tensor
    positions: Tensor
    paths: Tensor
    rows: Tensor
    ends: Tensor

    def to(self, device: torch.device) -> "PrefixTree":
        return PrefixTree(*(t.to(device) for t in self))


def build_prefix_tree(tokens: Tensor) -> PrefixTree:
    """Build the prefix tree of tokenised prompts.

    Args:
        tokens: (N, context) int64; each prompt ends at its largest id (EOT), the rest is padding.
    """
    ends = tokens.argmax(dim=1).tolist()
    length = max(ends) + 1
    children: dict[tuple[int, int], int] = {}
    ids, positions, rows, paths, leaves = [], [], [], [], []
    for prompt, (row, end) in enumerate(zip(tokens.tolist(), ends, strict=True)):
        node, path = -1, []
        for position, token in enumerate(row[: end + 1]):
            node = children.setdefault((node, token), len(ids))
            if node == len(ids):
                ids.append(token)
                positions.append(position)
                rows.append(prompt * length + position)
            path.append(node)
        paths.append(path + [node] * (length - len(path)))
        leaves.append(node)
    return PrefixTree(*(torch.tensor(t) for t in (ids, positions, paths, rows, leaves)))


def text_block(block: nn.Module, x: Tensor, tree: PrefixTree) -> Tensor:
    """One transformer block on every node: (M, C) -> (M, C)."""
    x = x + block.ls_1(_attend(block.attn, block.ln_1(x), tree))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def encode_packed(text: nn.Module, tree: PrefixTree, run_block: Callable[..., Tensor] = text_block) -> Tensor:
    """CLIP text features of the prompts of a prefix tree.

    Args:
        text: an open_clip text tower (token_embedding, positional_embedding, transformer, ln_final, text_projection)
            whose attention is `SplitAttention`.
        tree: on the tower's device.
        run_block: `text_block`, or that compiled.

    Returns:
        (N, E), not normalised.
    """
    x = text.token_embedding(tree.tokens) + text.positional_embedding[tree.positions]
    *blocks, last = text.transformer.resblocks
    for block in blocks:
        x = run_block(block, x, tree)
    x = x[tree.ends] + last.ls_1(_attend_ends(last.attn, last.ln_1(x), tree))
    x = x + last.ls_2(last.mlp(last.ln_2(x)))
    return project_text(text, text.ln_final(x))


def _attend(attn: SplitAttention, x: Tensor, tree: PrefixTree) -> Tensor:
    """Causal self-attention over every prompt's path, for each node once: (M, C) -> (M, C)."""
    # No mask but the causal one: what stands after EOT only reads, and nothing reads it.
    out = attention(*(_on_paths(z, tree) for z in attn.project(x)), causal=True)
    return attn.out_proj(out.transpose(1, 2).reshape(tree.paths.numel(), -1).index_select(0, tree.rows))


def _attend_ends(attn: SplitAttention, x: Tensor, tree: PrefixTree) -> Tensor:
    """The same for EOT alone: (M, C) -> (N, C)."""
    n, length = tree.paths.shape
    key, value = (_on_paths(z, tree) for z in attn.project(x, "kv"))
    query = attn.project(x[tree.ends], "q")[0].unsqueeze(2)
    # Paths repeat EOT's node after EOT: those copies must not be counted twice.
    steps = torch.arange(length, device=x.device)
    mask = steps[None] <= tree.positions[tree.ends][:, None]
    out = attention(query, key, value, mask[:, None, None])
    return attn.out_proj(out.reshape(n, -1))


def _on_paths(x: Tensor, tree: PrefixTree) -> Tensor:
    """A projection of the nodes at each position of each prompt: (M, heads, D) -> (N, heads, L, D), a view."""
    # Unlike indexing by `paths`, whose backward pass sorts, this one adds rows in place.
    rows = x.flatten(1).index_select(0, tree.paths.flatten())
    return rows.view(*tree.paths.shape, *x.shape[1:]).transpose(1, 2)
