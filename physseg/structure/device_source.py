"""Sources of structure that are computed in batches on the model's device, and not in the data workers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

# ITU-R BT.601, as OpenCV's COLOR_RGB2GRAY and transformers' SuperPoint image processor.
_GREY = (0.299, 0.587, 0.114)


class DeviceSource(ABC):
    """Images on any device -> their maps on the same one. No `nn.Module`: it is in no checkpoint and no optimizer."""

    @torch.no_grad()
    def __call__(self, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Maps of images at their own size.

        Images of one size are worked on together; none is padded, since a padding's border would be found.

        Args:
            images: uint8 or float (3, H, W) each, RGB in 0-255, all on one device.

        Returns:
            One (H, W) per image on the same device: uint8 of 0 and 1, or float32 in 0-1 for a soft source.
        """
        maps: list[torch.Tensor | None] = [None] * len(images)
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            by_size.setdefault(tuple(image.shape[-2:]), []).append(index)
        for indices in by_size.values():
            batch = torch.stack([images[i] for i in indices])
            with torch.autocast(batch.device.type, enabled=False):
                found = self._batch(batch)
            for index, result in zip(indices, found, strict=True):
                maps[index] = result
        return maps

    def fill(self, structure: torch.Tensor, images: Sequence[torch.Tensor], channel: int) -> None:
        """Write the maps of ``images`` into channel ``channel`` of (B, S, H, W), in place.

        H and W may be larger than an image, which then lies at the top left; the padding stays as it is.
        """
        for target, found in zip(structure, self(images), strict=True):
            target[channel, : found.shape[0], : found.shape[1]] = found

    @abstractmethod
    def _batch(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in 0-255 -> maps (B, H, W)."""


def grey(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) RGB -> float32 (B, H, W) grey in the same range."""
    # Filled on the device: `torch.tensor` would copy, and the host would wait for that.
    weights = torch.stack([torch.full((), weight, device=images.device) for weight in _GREY])
    return torch.einsum("bchw,c->bhw", images.float(), weights)
