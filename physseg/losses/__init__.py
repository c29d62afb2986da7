"""The three terms of eq. 4: segmentation, weighted patch alignment, physical structure."""

from .patch_alignment import PatchAlignmentLoss, patch_alignment_loss, patch_weights
from .segmentation import segmentation_loss
from .structure import StructureLoss, structure_loss

__all__ = [
    "PatchAlignmentLoss",
    "StructureLoss",
    "patch_alignment_loss",
    "patch_weights",
    "segmentation_loss",
    "structure_loss",
]
