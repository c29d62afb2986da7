"""The toy CLIP's two towers as pre-training runs them: windows of the patch grid, dense features, few tokens.

They use the modules of an open_clip CLIP and equal `encode_image` and `encode_text` on whole pictures.

Letters: B pictures, g side of the seen grid in patches, C embedding size, L caption length.
"""

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def encode_images(visual: nn.Module, images: Tensor, corner: tuple[int, int] = (0, 0)) -> tuple[Tensor, Tensor]:
    """Pooled and dense features of pictures that cover a window of the model's patch grid.

    Args:
        visual: open_clip VisionTransformer with a pooled class token.
        images: float (B, 3, s, s), normalised; s at most the model's image size.
        corner: grid row and column at which the pictures' upper left patch stands, for the positional embedding.

    Returns:
        pooled (B, C), as open_clip; dense (B, g * g, C) by the value-only last block of CAT-Seg: attention output
        replaced by every token's own value, plus the block's incoming class token.
    """
    side = visual.grid_size[0]
    x = visual.conv1(images)  # (B, width, g, g)
    grid = x.shape[-1]
    places = visual.positional_embedding[1:].unflatten(0, (side, side))
    places = places[corner[0] : corner[0] + grid, corner[1] : corner[1] + grid].flatten(0, 1)
    first = (visual.class_embedding + visual.positional_embedding[0]).to(x.dtype).expand(len(x), 1, -1)
    x = visual.ln_pre(torch.cat([first, x.flatten(2).transpose(1, 2) + places.to(x.dtype)], dim=1))
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = _block(block, x)
    pooled = visual.ln_post(_block(last, x)[:, 0]) @ visual.proj
    width = x.shape[-1]
    value = F.linear(last.ln_1(x), last.attn.in_proj_weight[2 * width :], last.attn.in_proj_bias[2 * width :])
    dense = last.attn.out_proj(value) + x[:, :1]
    dense = dense + last.mlp(last.ln_2(dense))
    return pooled, visual.ln_post(dense[:, 1:]) @ visual.proj


def encode_text(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """Text features (B, C) of int64 tokens (B, L), cut to the longest caption of the batch."""
    length = int((tokens != 0).sum(1).max())
    tokens = tokens[:, :length]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    mask = model.attn_mask[:length, :length].to(x.dtype)
    for block in model.transformer.resblocks:
        x = _block(block, x, mask)
    end = tokens.argmax(1)  # the end-of-text token has the highest id
    return model.ln_final(x[torch.arange(len(x), device=x.device), end]) @ model.text_projection


def _block(block: nn.Module, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """One residual block. Attention is spelt out: PyTorch's fused kernel is slow backwards on a CPU in bfloat16."""
    attention = block.attn
    qkv = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = qkv.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, tokens, c)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    x = x + attention.out_proj(mixed)
    return x + block.mlp(block.ln_2(x))


class UsedTokens:
    """Maps CLIP's token ids to rows of a small table and back; order is kept, so end-of-text stays the highest."""

    def __init__(self, captions: list[str], tokenizer: open_clip.SimpleTokenizer) -> None:
        self.tokenizer = tokenizer
        self.ids = tokenizer(captions).unique()  # sorted; padding (0) is among them

    def __call__(self, captions: list[str]) -> Tensor:
        """int64 (B, context length): rows of the small table, 0 for padding.

        Raises:
            ValueError: a caption has a word that no caption of the table had.
        """
        tokens = self.tokenizer(captions)
        rows = torch.searchsorted(self.ids, tokens).clamp_max(len(self.ids) - 1)
        if not torch.equal(self.ids[rows], tokens):
            raise ValueError("a caption uses a token outside the toy world's words; build the table from all words")
        return rows
