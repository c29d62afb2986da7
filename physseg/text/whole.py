"""Text encoding where every token sees all others (SigLIP): a prompt's tokens depend on the whole prompt.

So nothing can be shared between prompts, and padding takes part, as it did in training.
"""

from torch import Tensor, nn


def encode_whole(text: nn.Module, tokens: Tensor) -> Tensor:
    """Features of the last token.

    Args:
        text: an open_clip `TextTransformer` without a mask, whose attention is `SplitAttention`.
        tokens: (N, L) int64, padded to the tower's context.

    Returns:
        (N, E), not normalised.
    """
    x = text.token_embedding(tokens) + text.positional_embedding
    for block in text.transformer.resblocks:
        x = x + block.ls_1(block.attn(block.ln_1(x)))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
    return project_text(text, text.ln_final(x)[:, -1])


def project_text(text: nn.Module, x: Tensor) -> Tensor:
    """The text tower's projection, which is a matrix, a layer, or none: (N, C) -> (N, E)."""
    projection = text.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Module) else x @ projection
