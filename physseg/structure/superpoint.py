"""SuperPoint keypoints (DeTone et al., "SuperPoint", 2018) by transformers: batched, on the model's device."""

from importlib.metadata import version

import torch
import torch.nn.functional as F

from .device_source import DeviceSource, grey
from .discs import disc
from .options import SuperPointOptions

# The first release of transformers that gives keypoints as shares of width and height.
_FIRST_WITH_SHARES = (4, 47)


class SuperPointSource(DeviceSource):
    """Makes SuperPoint maps, 1 inside a keypoint's disc, without the resize of transformers' image processor; frozen.

    The weights are loaded at the first call, on the device of the images, so that building a model for inference
    needs neither them nor transformers.

    Raises, at the first call:
        ImportError: transformers is not installed, or older than 4.47.
        FileNotFoundError: the weights are neither a local folder nor to be had from the hub.
    """

    def __init__(self, options: SuperPointOptions) -> None:
        self.options = options
        self._detector: torch.nn.Module | None = None
        self._failure: ImportError | FileNotFoundError | None = None

    def _batch(self, images: torch.Tensor) -> torch.Tensor:
        batch, _, height, width = images.shape
        detector = self._loaded(images.device)
        found = detector(grey(images.float() / 255)[:, None].expand(-1, 3, -1, -1))
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

        installed = version("transformers")
        if tuple(int(part) for part in installed.split(".")[:2]) < _FIRST_WITH_SHARES:
            raise ImportError(f"transformers {installed} gives keypoints in pixels")
    except ImportError as error:
        raise ImportError(
            "the structure source 'superpoint' needs transformers 4.47 or newer: run `pip install '.[superpoint]'` in "
            "physseg's source folder, or take it out of MODEL.STRUCTURE.SOURCES"
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
