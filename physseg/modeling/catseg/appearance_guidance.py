"""Guidance from an appearance backbone in place of CLIP's own levels (CAT-Seg, 2023 design).

The backbone comes from Detectron2's registry: `build_timm_swin_backbone`, `build_resnet_backbone`, or one's own.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.modeling import Backbone, build_backbone
from detectron2.utils.file_io import PathManager
from torch import Tensor, nn

from physseg.data.raw_formats.allowed_pickle import load_allowed
from physseg.modeling.catseg import swin_backbone, timm_backbone  # noqa: F401  (registers them with Detectron2)

# Which stride of the backbone takes which map's place: at 16 the token grid, then twice and four times it.
STRIDES = {"g3": 16, "g4": 8, "g5": 4}


class AppearanceGuidance(nn.Module):
    """Maps of stride 16, 8 and 4 of an appearance backbone as g3, g4 and g5.

    Args:
        backbone: gives maps by name; `output_shape` must list one of each stride.
        grid: side of CLIP's token grid.
        image_size: side in pixels of the square that the backbone sees: 16 times the grid.
        mean, std: of the backbone's training images, RGB in 0-255 units.
        clip_mean, clip_std: what the incoming images are normalised with.
        frozen: the backbone gets no gradient and no optimizer sees it; its drop path stays on in training.

    Raises:
        ValueError: the backbone's maps do not lie on the grids that cost aggregation and decoder need.
    """

    def __init__(
        self,
        backbone: Backbone,
        grid: int,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        clip_mean: Sequence[float],
        clip_std: Sequence[float],
        frozen: bool = False,
    ):
        super().__init__()
        shapes = backbone.output_shape()
        strides = {name: shape.stride for name, shape in shapes.items()}
        by_stride = {stride: name for name, stride in strides.items()}
        if not set(STRIDES.values()) <= set(by_stride):
            raise ValueError(
                f"MODEL.BACKBONE.NAME: expected maps of stride 4, 8 and 16, got {strides}; a ResNet gives them with "
                "MODEL.RESNETS.OUT_FEATURES ['res2', 'res3', 'res4']"
            )
        if image_size != STRIDES["g3"] * grid:
            raise ValueError(
                f"MODEL.APPEARANCE.IMAGE_SIZE: expected {STRIDES['g3'] * grid}, 16 times the token grid of {grid} "
                f"(MODEL.CLIP.IMAGE_SIZE over the patch size), got {image_size}"
            )
        self.backbone, self.frozen = backbone, frozen
        if frozen:
            backbone.requires_grad_(False)
        self.image_size = image_size
        self.names = {level: by_stride[stride] for level, stride in STRIDES.items()}
        # Maps by name, as `forward` returns them, and their channels.
        self.channels = {level: shapes[name].channels for level, name in self.names.items()}
        # CLIP-normalised -> 0-255 RGB -> normalised for the backbone, in one step.
        mean, std, clip_mean, clip_std = (torch.tensor(v).view(-1, 1, 1) for v in (mean, std, clip_mean, clip_std))
        self.register_buffer("scale", clip_std / std, persistent=False)
        self.register_buffer("shift", (clip_mean - mean) / std, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, grid: int) -> "AppearanceGuidance":
        """Build the backbone and its guidance from MODEL.BACKBONE and MODEL.APPEARANCE."""
        backbone, node = build_backbone(cfg), cfg.MODEL.APPEARANCE
        if node.WEIGHTS and not cfg.MODEL.WEIGHTS:
            load_backbone_weights(backbone, node.WEIGHTS)
        statistics = (node.PIXEL_MEAN, node.PIXEL_STD, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)
        return cls(backbone, grid, node.IMAGE_SIZE, *statistics, node.FROZEN)

    def forward(
        self, features: object, images: Tensor | Iterable[Tensor], contents: Sequence[Sequence[int]] | None = None
    ) -> dict[str, Tensor]:
        """Guidance maps.

        Args:
            features: CLIP's, not looked at.
            images: normalised for CLIP: (B, 3, h, w), or B of (3, h, w), each with its own size.
            contents: (height, width) of each image within its padding; None: there is no padding.

        Returns:
            {"g3": (B, C, H, W), "g4": (B, C', 2H, 2W), "g5": (B, C'', 4H, 4W)}.
        """
        size = (self.image_size, self.image_size)
        square = []
        for index, image in enumerate(images):
            image = image * self.scale + self.shift
            if contents is not None:
                # Padding is the mean colour of the backbone's images, not of CLIP's.
                height, width = contents[index]
                image[:, height:] = 0
                image[:, :, width:] = 0
            square.append(F.interpolate(image[None], size=size, mode="bilinear", align_corners=False))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.backbone(torch.cat(square))
        return {level: maps[name] for level, name in self.names.items()}


def load_backbone_weights(backbone: nn.Module, path: str) -> None:
    """Load a file of weights under the backbone's own names: .pth, .safetensors, or Detectron2's .pkl.

    Names that the backbone lacks (a classifier's) are passed over.

    Args:
        path: local, or what Detectron2's PathManager fetches and keeps (detectron2://..., https://...).

    Raises:
        FileNotFoundError: no such file.
        ConnectionError: it cannot be fetched.
        ValueError: the file is unreadable, or lacks a parameter, or has it in another shape.
    """
    file = _fetched(path) if "://" in path else Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"MODEL.APPEARANCE.WEIGHTS: no file {file}")
    if file.suffix == ".pkl":
        content = load_allowed(file)
    elif file.suffix == ".safetensors":
        from safetensors.torch import load_file

        content = load_file(file)
    else:
        content = torch.load(file, map_location="cpu", weights_only=True)
    state = {name: torch.as_tensor(value) for name, value in content.get("model", content).items()}
    own = backbone.state_dict()
    wrong = [name for name in own if name not in state or state[name].shape != own[name].shape]
    wrong = [name for name in wrong if not name.endswith("num_batches_tracked")]
    if wrong:
        raise ValueError(
            f"MODEL.APPEARANCE.WEIGHTS: {file} lacks {len(wrong)} of the backbone's {len(own)} tensors or has them in "
            f"another shape, such as {wrong[:3]}; expected weights under the names of MODEL.BACKBONE.NAME's model"
        )
    backbone.load_state_dict({name: state[name] for name in own if name in state}, strict=False)


def _fetched(address: str) -> Path:
    try:
        return Path(PathManager.get_local_path(address))
    except Exception as error:  # urllib, http and the handlers each have errors of their own
        raise ConnectionError(
            f"MODEL.APPEARANCE.WEIGHTS: could not fetch {address} ({type(error).__name__}: {error}). Without a "
            "network, put the file on this machine and set the key to its path, or set MODEL.WEIGHTS to a physseg "
            "checkpoint, which holds the backbone's weights too."
        ) from error
