"""TensorBoard pictures of the structure head at work."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn

from ..data.loaders import build_train_loader
from ..structure.sheet import TITLES, draw_sheet


class StructurePictures(HookBase):
    """Every ``period`` iterations, puts image / pseudo ground truth / estimated structure into the event storage.

    The samples are fetched once, at the first picture, and stay the same, so that pictures of one run can be
    compared. The training stream is not touched. Only the main process draws.

    Args:
        period: iterations between pictures, as ``TEST.EVAL_PERIOD``; 0: none.
        sources: names of the channels.
        make_samples: returns mapped training samples (dicts with ``image`` and ``structure``), all of one size.

    The trainer's model, or its ``module``, must have ``structure_logits(list[dict]) -> (B, S, h, w)``.
    """

    def __init__(self, period: int, sources: Sequence[str], make_samples: Callable[[], list[dict]]) -> None:
        self.period, self.sources, self.make_samples = period, tuple(sources), make_samples
        self._samples: list[dict] | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "StructurePictures":
        """Shows the first samples of the training stream, drawn with the run's seed (0 if SEED is negative)."""

        def first_samples() -> list[dict]:
            seeded = cfg.clone()
            seeded.defrost()
            seeded.SEED = max(cfg.SEED, 0)  # a negative one is agreed on by all processes, and one alone draws here
            stream = build_train_loader(seeded).stream
            return [stream[position] for position in range(2)]

        node = cfg.MODEL.STRUCTURE
        return cls(node.PICTURE_PERIOD, node.SOURCES, first_samples)

    def after_step(self) -> None:
        step = self.trainer.iter + 1
        if self.period > 0 and step % self.period == 0 and comm.is_main_process():
            if self._samples is None:
                self._samples = self.make_samples()
            for index, sheet in enumerate(structure_sheets(self.trainer.model, self._samples, self.sources)):
                self.trainer.storage.put_image(f"structure/{index}", np.ascontiguousarray(sheet.transpose(2, 0, 1)))


def structure_sheets(model: nn.Module, samples: Sequence[dict], sources: Sequence[str]) -> list[np.ndarray]:
    """Sheets uint8 (h, w, 3), RGB: each source's pseudo ground truth beside its estimate.

    Args:
        model: has ``structure_logits`` and ``structure_targets``, or is wrapped around such a model as its ``module``.
            Run in evaluation mode without gradients; its mode is restored.
        samples: dicts with ``image`` uint8 (3, H, W) RGB and ``structure`` uint8 (S, H, W).
        sources: S names.
    """
    inner = getattr(model, "module", model)
    was_training = inner.training
    inner.eval()
    try:
        with torch.no_grad():
            estimates = inner.structure_logits(list(samples)).float().sigmoid().cpu().numpy()  # (B, S, h, w)
            targets = inner.structure_targets(list(samples)).cpu().numpy()  # (B, S, H, W), padded
    finally:
        inner.train(was_training)
    sheets = []
    for sample, estimate, target in zip(samples, estimates, targets, strict=True):
        image = sample["image"].permute(1, 2, 0).cpu().numpy()
        panels = {}
        for channel, source in enumerate(sources):
            panels[source] = target[channel, : image.shape[0], : image.shape[1]]
            panels[f"{TITLES[source]}: estimate"] = estimate[channel]
        sheets.append(draw_sheet(image, panels))
    return sheets
