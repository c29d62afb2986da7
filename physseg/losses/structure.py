"""Physical structure regularisation L_p (sec. 3.1): focal loss between estimated structure and pseudo ground truth."""

import torch
import torch.nn.functional as F
from fvcore.nn import sigmoid_focal_loss
from torch import nn

from ..structure.resize import max_pool_to


def structure_loss(
    logits: torch.Tensor, targets: torch.Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> torch.Tensor:
    """Focal loss of structure logits (Lin et al., "Focal Loss for Dense Object Detection", 2017, eq. 5).

    With s_est = sigmoid(logit): mean of -alpha_t (1 - p_t)^gamma log p_t, where p_t is s_est on structure and
    1 - s_est elsewhere. The sigmoid of the paper's s_est is taken inside, where log(sigmoid(x)) is computed as
    -softplus(-x): the same number, without the overflow of log(0). Always computed in float32.

    Targets between 0 and 1 (a soft source) make it the quality focal loss (Li et al., "Generalized Focal Loss", 2020,
    eq. 5): alpha_t |t - s_est|^gamma BCE(s_est, t), with alpha_t = t alpha + (1 - t) (1 - alpha). It is smallest, and
    zero in slope, at s_est = t: a regression; and where t is 0 or 1 it is the focal loss above.

    The targets are max-pooled to the logits' grid, so that thin structures survive. The mean is over all cells,
    channels and images; Lin et al. divide by the number of anchors assigned to an object, which has no counterpart in
    a dense map, and would tie the loss's scale to how busy an image is.

    Args:
        logits: float (B, S, h, w), before the sigmoid.
        targets: (B, S, H, W), uint8 of 0 and 1, or float in 0-1.
        alpha, gamma: weight of the structure cells in [0, 1], and focusing exponent.

    Returns:
        Scalar, float32.

    Raises:
        ValueError: logits and targets differ in images or channels.

    Example:
        >>> structure_loss(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).item()  # 3/16 ln 2
        0.12996509671211243
    """
    if logits.dim() != 4 or targets.dim() != 4 or logits.shape[:2] != targets.shape[:2]:
        raise ValueError(
            "structure logits (B, S, h, w) and targets (B, S, H, W) must agree in B and S; "
            f"got {tuple(logits.shape)} and {tuple(targets.shape)}"
        )
    with torch.autocast(logits.device.type, enabled=False):
        target = max_pool_to(targets, tuple(logits.shape[-2:]))
        if targets.is_floating_point():
            return quality_focal_loss(logits.float(), target, alpha, gamma).mean()
        return sigmoid_focal_loss(logits, target, alpha=alpha, gamma=gamma, reduction="mean")


def quality_focal_loss(logits: torch.Tensor, targets: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    """alpha_t |t - sigmoid(x)|^gamma BCE(sigmoid(x), t), element by element; see `structure_loss`."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    distance = (targets - logits.sigmoid()).abs()
    alpha_t = targets * alpha + (1 - targets) * (1 - alpha)
    return alpha_t * distance**gamma * cross_entropy


class StructureLoss(nn.Module):
    """`structure_loss` with its settings."""

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0) -> None:
        super().__init__()
        self.alpha, self.gamma = alpha, gamma

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """See `structure_loss`."""
        return structure_loss(logits, targets, self.alpha, self.gamma)
