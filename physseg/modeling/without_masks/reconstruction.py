"""SegCLIP's reconstruction branch: groups of the visible patches -> all pixels.

B images, N patches, M visible ones, K groups, C width.
"""

from collections.abc import Iterable

import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from physseg.modeling.clip.plain_tower import plain_block
from physseg.modeling.clip.quick_gelu import QuickGELUMLP, quick_gelu
from physseg.modeling.clip.split_attention import SplitAttention
from physseg.modeling.without_masks.assignment import Grouped
from physseg.modeling.without_masks.masked_autoencoder import MaskedDecoder, Masking


class GroupReconstruction(nn.Module):
    """Patches told from their groups alone, so that groups must say what is where.

    Args:
        decoder: with a summary token. width: C. groups: K. heads: of the blocks. blocks: fresh ones before the decoder.
        ratio: share of the N + 1 tokens, the class token among them, that the encoder does not see.
    """

    def __init__(
        self, decoder: MaskedDecoder, width: int, groups: int, heads: int, blocks: int = 2, ratio: float = 0.75
    ):
        super().__init__()
        self.ratio = ratio
        self.mix = nn.Linear(groups, groups)
        self.blocks = nn.ModuleList(_blocks(width, heads, blocks))
        self.decoder = decoder

    def visible(self, patches: int) -> int:
        """M for N patches; the published count has the class token among the visible, which is dropped afterwards."""
        return int((patches + 1) * (1 - self.ratio)) - 1

    def forward(self, grouped: Grouped, masking: Masking) -> Tensor:
        """Predicted pixels of all patches.

        Args:
            grouped: groups of the visible patches. masking: which those are.

        Returns:
            (B, N, pixels).
        """
        return self.decoder(self.decoder_input(grouped), masking)

    def decoder_input(self, grouped: Grouped) -> Tensor:
        """Mean of the patches' tokens, then the tokens: (B, 1 + M, C)."""
        share = self.mix(grouped.assignment.hard.transpose(1, 2))  # (B, M, K)
        x = quick_gelu(share @ grouped.tokens)
        for block in self.blocks:
            x = plain_block(block, x)
        return torch.cat([x.mean(1, keepdim=True), x], dim=1)


def _blocks(width: int, heads: int, count: int) -> Iterable[nn.Module]:
    """Blocks of OpenAI's CLIP with random weights."""
    for _ in range(count):
        block = ResidualAttentionBlock(width, heads, act_layer=QuickGELU)
        block.attn = SplitAttention.from_packed(block.attn)
        block.mlp = QuickGELUMLP(block.mlp.c_fc, block.mlp.c_proj)
        yield block
