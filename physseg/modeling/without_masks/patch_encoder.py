"""A plain ViT that sees some of the patches or all of them: the encoder of masked autoencoders.

B images, N patches, M visible ones, C width.
"""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from physseg.modeling.clip.plain_tower import resize_positions
from physseg.modeling.timm_models import create_timm
from physseg.modeling.without_masks.masked_autoencoder import Masking, take_visible

_KEY = "MODEL.ZEROSEG.ENCODER"


class PatchEncoder(nn.Module):
    """timm's ViT with learnt absolute positions and a class token.

    Args:
        image_size: side in pixels that positions are stored for; other sizes resize them.
        patch: side of a patch. dim: C. depth, heads: of its blocks.
        pretrained: timm model and tag, such as "vit_base_patch16_224.mae"; empty: random weights.
        load_weights: False leaves random weights and downloads nothing.

    Raises:
        ValueError: the pretrained model has other sizes, or there is none.
        ConnectionError: it cannot be downloaded.
    """

    def __init__(
        self,
        image_size: int,
        patch: int = 16,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        pretrained: str = "",
        load_weights: bool = True,
    ):
        super().__init__()
        self.patch, self.dim = patch, dim
        self.vit = VisionTransformer(
            image_size, patch, embed_dim=dim, depth=depth, num_heads=heads, num_classes=0, global_pool=""
        )
        if pretrained and load_weights:
            name, _, tag = pretrained.partition(".")
            state = create_timm(_KEY, name, tag, {"num_classes": 0, "global_pool": ""}).state_dict()
            try:
                self.vit.load_state_dict(state)
            except RuntimeError as error:
                raise ValueError(f"{_KEY}: {pretrained} is not a ViT of the sizes given: {error}") from None

    def forward(self, images: Tensor, masking: Masking | None = None) -> tuple[Tensor, Tensor]:
        """Tokens of the visible patches, or of all.

        Args:
            images: (B, 3, h, w), normalised, whole patches.

        Returns:
            class token (B, 1, C) and patches (B, M or N, C).
        """
        x = self.vit.patch_embed.proj(images)
        grid = tuple(x.shape[-2:])
        positions = resize_positions(self.vit.pos_embed[0], self.vit.patch_embed.grid_size, grid)
        x = x.flatten(2).transpose(1, 2) + positions[1:].to(x.dtype)
        if masking is not None:
            x = take_visible(x, masking)
        first = (self.vit.cls_token[0] + positions[:1]).to(x.dtype).expand(len(x), 1, -1)
        x = self.vit.norm(self.vit.blocks(torch.cat([first, x], dim=1)))
        return x[:, :1], x[:, 1:]
