"""Dense CLIP features alone: one feature per patch that lives in the space of CLIP's text features.

By default CLIP's last block is taken value-only, with the CLS token as residual (docs/method.md); other methods are
those of docs/clip_alone.md. No training, no segmentation head.

B images, T names, P prompt templates, E CLIP's embedding, H W token grid.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physseg.image_arrays import as_image_list, to_tensor
from physseg.modeling.clip.dense_features import DenseFeatures
from physseg.modeling.clip.dense_paths import DENSE_PATHS
from physseg.modeling.clip.encoder import ClipEncoder


class DenseClip(nn.Module):
    """A CLIP for repeated use.

    Example::

        clip = physseg.DenseClip(device="cuda")
        features = clip(image)
        similarity = torch.einsum("behw,te->bthw", F.normalize(features, dim=1), clip.text(["cat", "grass"]))

    Args:
        name: open_clip's name of a plain CLIP with a CLS token, of PE-Core or of SigLIP 2.
        pretrained: open_clip tag, local file, or "" for random weights.
        image_size: side in pixels of the square every image is resized to, a multiple of the patch: H = W = image_size
            / patch.
        templates: prompts that `text` averages over: sentences with one {}, or "imagenet" (80).
        device: where it runs.
        method: one of `physseg.modeling.clip.dense_features.METHODS`, "proxyclip" excepted; PE-Core and SigLIP 2 have
            "maskclip" alone.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: as `physseg.modeling.clip.weights.create_clip`.
    """

    def __init__(
        self,
        name: str = "ViT-B-16-quickgelu",
        pretrained: str = "openai",
        image_size: int = 384,
        templates: Sequence[str] = ("A photo of a {}",),
        device: str | torch.device = "cpu",
        method: str = "catseg",
    ) -> None:
        super().__init__()
        path = method if method in DENSE_PATHS else "maskclip"
        self.encoder = ClipEncoder(
            name, pretrained, image_size, finetune="frozen", templates=templates, dense_path=path
        )
        # Images are squares of the encoder's size: positions by the ratio of sizes, as PhysSeg resizes them.
        self.features = DenseFeatures(self.encoder, method, offset=0.0)
        for key, values in (("mean", self.encoder.mean), ("std", self.encoder.std)):
            self.register_buffer(key, torch.tensor(values).view(3, 1, 1), persistent=False)
        self.eval().to(device)

    @torch.no_grad()
    def forward(self, images: np.ndarray | Sequence[np.ndarray]) -> Tensor:
        """Dense features.

        Args:
            images: RGB uint8 (H, W, 3), or a list of them, of any sizes; aspect ratios are not kept.

        Returns:
            (B, E, H, W) float32, not normalised; B is 1 for one image.

        Raises:
            TypeError, ValueError: an image of another type, dtype or shape; an empty list.
        """
        arrays, _ = as_image_list(images)
        if not arrays:
            raise ValueError("expected at least one image, got an empty list")
        size = (self.encoder.image_size, self.encoder.image_size)
        squares = [
            F.interpolate(self._normalise(image)[None], size=size, mode="bilinear", align_corners=False)
            for image in arrays
        ]
        return self.features(torch.cat(squares))

    @torch.no_grad()
    def text(self, names: Sequence[str]) -> Tensor:
        """Text features (T, E) of names, L2 norm 1, averaged over the templates."""
        return F.normalize(self.encoder.encode_text(names).mean(1), dim=-1)

    def _normalise(self, image: np.ndarray) -> Tensor:
        return (to_tensor(image).to(self.mean.device) - self.mean) / self.std


def dense_clip_features(
    images: np.ndarray | Sequence[np.ndarray],
    name: str = "ViT-B-16-quickgelu",
    pretrained: str = "openai",
    image_size: int = 384,
) -> Tensor:
    """Dense CLIP features (B, E, H, W) of images in one call; `DenseClip` keeps the model for the next one.

    Args and errors: as `DenseClip` and its call.
    """
    return DenseClip(name, pretrained, image_size)(images)
