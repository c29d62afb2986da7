"""ProxyCLIP: CLIP's last values, mixed by the similarities of another vision model's patches.

Letters as in `dense_paths`; H' W' the other model's token grid, N' = H' W', F its channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physseg.modeling.clip.calibrated_paths import cosine, positive_softmax
from physseg.modeling.clip.dense_paths import output, project
from physseg.modeling.clip.plain_tower import to_map
from physseg.modeling.timm_models import create_timm, timm_statistics


def proxyclip(
    block: nn.Module, x: Tensor, grid: tuple[int, int], proxy: Tensor, shift: float = 1.2, sharpness: float = 3.0
) -> Tensor:
    """ProxyCLIP (Lan et al., ECCV 2024): W(A v), A one for all heads, v without CLS on the other model's grid.

    A = softmax(g (S - b mean S)) over its positive entries, S the cosine similarity of the other model's patches.

    Args:
        block: the last. x: (B, 1 + N, C), its input. grid: CLIP's (H, W).
        proxy: (B, F, H', W'), the other model's features.
        shift, sharpness: b and g.

    Returns:
        (B, N', C).
    """
    value = project(block, x[:, 1:], "v")[0].transpose(1, 2).flatten(2)
    value = F.interpolate(to_map(value, grid, prefix=0), size=proxy.shape[-2:], mode="bilinear", align_corners=False)
    close = cosine(proxy.flatten(2).transpose(1, 2))
    weights = positive_softmax(sharpness * (close - shift * close.mean((1, 2), keepdim=True)))
    mixed = weights @ value.flatten(2).transpose(1, 2)
    return output(block, mixed.unflatten(-1, (block.attn.heads, -1)).transpose(1, 2))


class ProxyModel(nn.Module):
    """Patch features of a timm ViT (DINO, DINOv2, DINOv3, ...): the last block's, normalised by the model's last norm.

    Args:
        name: timm model name, without a tag.
        pretrained: timm tag, local file, or "" for random weights.
        mean, std: what the incoming images are normalised with, RGB in 0-255 units.
        load_weights: False leaves random weights and reads or downloads nothing.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: as `create_timm`; or a model without a patch grid.
    """

    def __init__(self, name: str, pretrained: str, mean: Tensor, std: Tensor, load_weights: bool = True):
        super().__init__()
        options = {"num_classes": 0, "dynamic_img_size": True}
        self.body = create_timm("MODEL.DENSE.PROXY", name, pretrained if load_weights else "", options)
        if not hasattr(self.body, "patch_embed") or not hasattr(self.body, "forward_intermediates"):
            raise ValueError(f"MODEL.DENSE.PROXY.NAME: {name!r} has no patch tokens; expected a ViT of timm")
        self.patch = self.body.patch_embed.patch_size[0]
        own_mean, own_std = timm_statistics(self.body)
        self.register_buffer("scale", std / own_std, persistent=False)
        self.register_buffer("shift", (mean - own_mean) / own_std, persistent=False)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, s, t), normalised for CLIP -> (B, F, H', W'), the sides rounded to whole patches."""
        size = [max(round(side / self.patch), 1) * self.patch for side in images.shape[-2:]]
        if list(images.shape[-2:]) != size:
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        images = images * self.scale + self.shift
        return self.body.forward_intermediates(images, indices=1, norm=True, intermediates_only=True)[-1]
