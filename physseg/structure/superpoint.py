"""SuperPoint keypoints (DeTone et al., "SuperPoint", 2018) by transformers: batched, on the model's device."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .discs import disc
from .options import SuperPointOptions

# ITU-R BT.601, as OpenCV's COLOR_RGB2GRAY and transformers' SuperPoint image processor.
_GREY = (0.299, 0.587, 0.114)


class SuperPointSource:
    """Makes SuperPoint maps. Frozen, and no `nn.Module`: it is in no checkpoint and no optimizer.

    The weights are loaded at the first call, on the device of the images, so that building a model for inference
    needs neither them nor transformers.

    Raises, at the first call:
        ImportError: transformers is not installed.
        FileNotFoundError: the weights are neither a local folder nor to be had from the hub.
    """

    def __init__(self, options: SuperPointOptions) -> None:
        self.options = options
        self._detector: torch.nn.Module | None = None
        self._failure: ImportError | FileNotFoundError | None = None

    @torch.no_grad()
    def __call__(self, images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """SuperPoint maps of images at their own size, without the resize of transformers' image processor.

        Images of one size go through the network together; none is padded, since a padding's border would be found.

        Args:
            images: uint8 or float (3, H, W) each, RGB in 0-255, all on one device.

        Returns:
            One uint8 (H, W) per image on the same device: 1 inside a keypoint's disc, else 0.
        """
        maps: list[torch.Tensor | None] = [None] * len(images)
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            by_size.setdefault(tuple(image.shape[-2:]), []).append(index)
        for indices in by_size.values():
            for index, result in zip(indices, self._batch(torch.stack([images[i] for i in indices])), strict=True):
                maps[index] = result
        return maps

    def fill(self, structure: torch.Tensor, images: Sequence[torch.Tensor], channel: int) -> None:
        """Write the maps of ``images`` into channel ``channel`` of uint8 (B, S, H, W), in place.

        H and W may be larger than an image, which then lies at the top left; the padding stays as it is.
        """
        for target, found in zip(structure, self(images), strict=True):
            target[channel, : found.shape[0], : found.shape[1]] = found

    def _batch(self, images: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = images.shape
        detector = self._loaded(images.device)
        with torch.autocast(images.device.type, enabled=False):
            grey = torch.einsum("bchw,c->bhw", images.float() / 255, torch.tensor(_GREY, device=images.device))
            found = detector(grey[:, None].expand(-1, 3, -1, -1))
        points = torch.zeros(batch, 1, height, width, device=images.device)
        of_image, of_keypoint = found.mask.bool().nonzero(as_tuple=True)
        # transformers gives x and y as shares of width and height.
        x, y = (found.keypoints[of_image, of_keypoint] * found.keypoints.new_tensor([width, height])).round().long().T
        points[of_image, 0, y, x] = 1
        kernel = torch.from_numpy(disc(self.options.radius)).to(points)
        discs = F.conv2d(points, kernel[None, None], padding=self.options.radius)
        return (discs[:, 0] > 0.5).to(torch.uint8)

    def _loaded(self, device: torch.device) -> torch.nn.Module:
        if self._failure is not None:  # asking the hub takes half a minute when there is no network: once is enough
            raise self._failure
        if self._detector is None:
            try:
                self._detector = load_superpoint(self.options)
            except (ImportError, FileNotFoundError) as error:
                self._failure = error
                raise
        return self._detector.to(device)


def load_superpoint(options: SuperPointOptions) -> torch.nn.Module:
    """transformers' SuperPoint in evaluation mode, frozen; raises as `SuperPointSource` says."""
    try:
        from transformers import SuperPointForKeypointDetection
    except ImportError as error:
        raise ImportError(
            "the structure source 'superpoint' needs transformers: run `pip install '.[superpoint]'` in physseg's "
            "source folder, or take it out of MODEL.STRUCTURE.SOURCES"
        ) from error
    try:
        # Every keypoint over the threshold counts: a limit would make the map of an area depend on the rest.
        model = SuperPointForKeypointDetection.from_pretrained(
            options.weights, keypoint_threshold=options.threshold, max_keypoints=-1
        )
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"cannot load SuperPoint's weights {options.weights!r} (MODEL.STRUCTURE.SUPERPOINT.WEIGHTS): give a model "
            "hub id that this machine can reach, or a local folder with config.json and the weights; maps made "
            "elsewhere by tools/make_structure_labels.py serve too (MODEL.STRUCTURE.MAPS_SOURCES)"
        ) from error
    return model.eval().requires_grad_(False)
