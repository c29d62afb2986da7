"""Sheets for looking at: image, pseudo ground truths and estimates side by side."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import nn

from . import make_structure_maps
from .kornia_sources import KorniaCannySource, SobelSource
from .options import SOURCES, StructureOptions
from .superpoint import SuperPointSource

TITLES = {"canny": "Canny", "sift": "SIFT", "superpoint": "SuperPoint", "edge_gt": "EdgeGT"}
TITLES |= {"kornia_canny": "Canny (kornia)", "sobel": "Sobel"}
_BAR = 28  # height of a title bar in pixels


def every_source(
    image: np.ndarray,
    labels: np.ndarray | None,
    options: StructureOptions,
    ignore_label: int,
    superpoint: SuperPointSource,
    device: str = "cpu",
) -> dict[str, np.ndarray | str]:
    """All pseudo ground truths of an image, or in words why there is none.

    Args:
        image: uint8 (H, W, 3), RGB.
        labels: integers (H, W), or None.
        options: settings; its ``sources`` do not matter.
        ignore_label: of ``labels``.
        superpoint: loaded at its first call.
        device: where SuperPoint runs.

    Returns:
        (H, W) in 0-1, or a message, by source in the order of `SOURCES`.
    """
    panels: dict[str, np.ndarray | str] = {}
    for source in SOURCES:
        if source == "superpoint":
            try:
                (found,) = superpoint([torch.from_numpy(image).permute(2, 0, 1).to(device)])
                panels[source] = found.cpu().numpy()
            except ImportError:
                panels[source] = "needs transformers"
            except FileNotFoundError:
                panels[source] = "weights not available"
        elif source in ("kornia_canny", "sobel"):
            device_source = KorniaCannySource(options.canny) if source != "sobel" else SobelSource(options.sobel)
            try:
                (found,) = device_source([torch.from_numpy(image).permute(2, 0, 1).to(device)])
                panels[source] = found.cpu().numpy()
            except ImportError:
                panels[source] = "needs kornia"
        elif source == "edge_gt" and labels is None:
            panels[source] = "needs a label map"
        else:
            one = StructureOptions((source,), canny=options.canny, sift=options.sift, edge_gt=options.edge_gt)
            panels[source] = make_structure_maps(image, labels, one, ignore_label)[0]
    return panels


def estimates(model: nn.Module, image: np.ndarray, sources: Sequence[str]) -> dict[str, np.ndarray]:
    """The structure head's s_est for an image, float (h, w) in 0-1, by panel title.

    Args:
        model: a PhysSeg in evaluation mode, trained with ``sources``.
        image: uint8 (H, W, 3), RGB.
        sources: names of the head's channels.
    """
    height, width = image.shape[:2]
    sample = {"image": torch.from_numpy(image).permute(2, 0, 1), "height": height, "width": width}
    with torch.no_grad():
        (logits,) = model.structure_logits([sample])
    maps = logits.float().sigmoid().cpu().numpy()
    return {f"{TITLES[source]}: estimate": s_est for source, s_est in zip(sources, maps, strict=True)}


def draw_sheet(image: np.ndarray, panels: Mapping[str, np.ndarray | str], columns: int = 0) -> np.ndarray:
    """Draw an image and its panels in a grid, each under its title.

    Args:
        image: uint8 (H, W, 3), RGB.
        panels: by title: a map (h, w) in 0-1 (white is structure; resized to the image), an RGB image uint8
            (h, w, 3), or a message for an empty panel.
        columns: panels per row, the image included; 0: one row.

    Returns:
        uint8 (rows (H + 28), columns W, 3), RGB.
    """
    height, width = image.shape[:2]
    tiles = [_titled("image", image)]
    for title, content in panels.items():
        if isinstance(content, str):
            panel = np.full((height, width, 3), 96, np.uint8)
            _write(panel, f"({content})", height // 2)
        else:
            panel = _as_rgb(content)
            if panel.shape[:2] != (height, width):
                panel = cv2.resize(panel, (width, height), interpolation=cv2.INTER_NEAREST)
        tiles.append(_titled(TITLES.get(title, title), panel))
    columns = columns or len(tiles)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def _as_rgb(content: np.ndarray) -> np.ndarray:
    if content.ndim == 3:
        return content
    return np.repeat((255 * content.astype(np.float32)).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _titled(title: str, panel: np.ndarray) -> np.ndarray:
    bar = np.full((_BAR, panel.shape[1], 3), 255, np.uint8)
    _write(bar, title, _BAR - 9, colour=(0, 0, 0))
    return np.vstack([bar, panel])


def _write(canvas: np.ndarray, text: str, y: int, colour: tuple[int, int, int] = (255, 255, 255)) -> None:
    # Small panels get small letters rather than cut ones.
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)
    scale = min(0.6, (canvas.shape[1] - 8) / width)
    cv2.putText(canvas, text, (4, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
