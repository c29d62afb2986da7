"""CLIP as a teacher: views -> image features.

B images, V views, E CLIP's embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from physseg.modeling.clip.encoder import ClipEncoder

# Views in one pass: a CPU is fastest with few, a GPU with many.
_VIEWS_ON_CPU, _VIEWS_ON_GPU = 16, 512


@torch.no_grad()
def teacher_features(clip: ClipEncoder, views: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """CLIP's image features, those that it was trained to match with texts.

    Args:
        clip: a plain CLIP.
        views: (B, V, 3, s, s) RGB in 0-255, any dtype, s whole patches; on the encoder's device, as all here.
        mean, std: (3, 1, 1), RGB statistics in 0-255 units.

    Returns:
        (B, V, E) float32, unit length.
    """
    tower, flat = clip.tower, views.flatten(0, 1)
    features = []
    for part in flat.split(_VIEWS_ON_CPU if flat.device.type == "cpu" else _VIEWS_ON_GPU):
        x, _ = tower.embed_patches((part - mean) / std)
        features.append(tower.embed(tower.run(tower.blocks, x)[:, :1])[:, 0].float())
    return F.normalize(torch.cat(features), dim=-1).unflatten(0, views.shape[:2])
