"""Weighted patch-level alignment L_sac (sec. 3.2, eq. 2-3): patches against the classes that their pixels hold.

Letters: B images, H W pixels, h w patch grid, N = B h w patches, T classes, C feature and D embedding channels.
"""

import torch
from detectron2.config import CfgNode, configurable
from torch import nn

from physseg.dtypes import at_least_float32
from physseg.losses.similarity import patch_text_similarity
from physseg.losses.temperature import held_scale, log_scale_parameter

FORMS = ("neg_log", "soft_cross_entropy")
NEGATIVES = ("vocabulary", "present")

# Added to the logit of a class that is no negative. Logits are at most 100 in size, so its probability is exactly 0 in
# float32, and unlike -inf it leaves neither 0 * inf in the loss nor NaN in the gradient.
_EXCLUDED = -1e4


def patch_weights(sem_seg: torch.Tensor, grid: tuple[int, int], num_classes: int, ignore_value: int) -> torch.Tensor:
    """The weights w_ij of eq. 2: share of class j among all pixels of patch i.

    Pixel (y, x) belongs to patch (floor(y h / H), floor(x w / W)): blocks of H/h x W/w pixels if these divide, else
    blocks whose sides differ by one. Pixels are counted by index, in memory for (N, T) numbers; pooling one-hot
    labels would need (B, T, H, W). The counts are exact (float32 holds integers up to 2^24).

    Args:
        sem_seg: int64 (B, H, W), classes 0..T-1 or ``ignore_value``; covers the same area as the patch grid.
        grid: (h, w).
        num_classes: T.
        ignore_value: label of unlabelled pixels.

    Returns:
        float32 (N, T), patches in row-major order, images outermost. A row sums to the labelled share of its patch.

    Raises:
        ValueError: a label is neither a class nor ``ignore_value`` (on a CPU; on a GPU such a pixel counts as
            unlabelled).
    """
    (batch, height, width), (h, w) = sem_seg.shape, grid
    device = sem_seg.device
    labelled = sem_seg != ignore_value
    unknown = labelled & ((sem_seg < 0) | (sem_seg >= num_classes))
    if device.type == "cpu" and unknown.any():  # elsewhere the check would wait for the device
        wrong = sem_seg[unknown].unique().tolist()
        raise ValueError(
            f"labels must be 0..{num_classes - 1} or MODEL.SEM_SEG_HEAD.IGNORE_VALUE {ignore_value}; got {wrong[:10]}: "
            "check that the data set's label maps belong to the vocabulary in use"
        )
    row, column = _patch_rows(height, h, device), _patch_rows(width, w, device)
    patch = row[:, None] * w + column + torch.arange(batch, device=device)[:, None, None] * (h * w)  # (B, H, W)

    # One more slot takes the unlabelled pixels: no selection, hence no wait for the device.
    slots = batch * h * w * num_classes
    index = torch.where(labelled & ~unknown, patch * num_classes + sem_seg, slots)
    counts = torch.zeros(slots + 1, device=device).scatter_add_(
        0, index.flatten(), torch.ones(index.numel(), device=device)
    )
    counts = counts[:slots].view(batch, h * w, num_classes)
    pixels = (_patch_sizes(height, h, device)[:, None] * _patch_sizes(width, w, device)).view(1, h * w, 1)
    return (counts / pixels.clamp(min=1)).flatten(0, 1)  # (N, T)


def count_labelled_patches(sem_seg: torch.Tensor, grid: tuple[int, int], ignore_value: int) -> torch.Tensor:
    """Patches that hold a labelled pixel: what the mean of L_sac runs over; arguments as in `patch_weights`."""
    (batch, height, width), (h, w) = sem_seg.shape, grid
    labelled = (sem_seg != ignore_value).to(torch.float32)
    rows = torch.zeros(batch, h, width, device=sem_seg.device)
    rows.index_add_(1, _patch_rows(height, h, sem_seg.device), labelled)
    pixels = torch.zeros(batch, h, w, device=sem_seg.device)
    pixels.index_add_(2, _patch_rows(width, w, sem_seg.device), rows)
    return (pixels > 0).sum()


def _patch_rows(pixels: int, patches: int, device: torch.device) -> torch.Tensor:
    """Row (or column) of patches that each row of pixels belongs to."""
    return torch.arange(pixels, device=device) * patches // pixels


def _patch_sizes(pixels: int, patches: int, device: torch.device) -> torch.Tensor:
    """Rows (or columns) of pixels in each patch: the counts of `_patch_rows`, which bincount would wait for."""
    starts = -(-torch.arange(patches + 1, device=device) * pixels // patches)
    return starts.diff()


def patch_alignment_loss(
    image_embeddings: torch.Tensor,
    text_embeddings: torch.Tensor,
    weights: torch.Tensor,
    scale: torch.Tensor | float,
    form: str = "neg_log",
    negatives: str = "vocabulary",
) -> torch.Tensor:
    """L_sac of eq. 3, corrected.

    With sim_ij the cosine of patch i's and class j's embedding and p_ij = softmax_j(sim_ij / tau), 1 / tau = ``scale``:

    - "neg_log": mean_i of -log sum_j w_ij p_ij. Eq. 3 is printed without log and sign: minimised as it stands, it
      would push patches away from their classes. This is the smallest correction. Its optimum gives all
      probability to the patch's largest class.
    - "soft_cross_entropy": mean_i of -sum_j w_ij log p_ij. Its optimum is p = w (up to the labelled share).

    The mean runs over patches with a labelled pixel; both forms are InfoNCE if each holds one class. A patch of which
    only a share s is labelled keeps its constant -log s in the first form, and counts s-fold in the second.
    Without a labelled patch the loss is 0, still connected to the embeddings. Where a batch is split over processes or
    accumulation steps, the engine weights each part by `count_labelled_patches`, which gives the mean over all.

    Computed in float32 at least, whatever autocast says.

    Args:
        image_embeddings: (N, D), any scale.
        text_embeddings: (T, D), any scale.
        weights: (N, T), see `patch_weights`.
        scale: 1 / tau, positive.
        form: one of `FORMS`.
        negatives: "vocabulary" (all T classes stand in the softmax), or "present" (those in this batch).

    Returns:
        Scalar.

    Raises:
        ValueError: unknown form or negatives.

    Example: one patch, half of class 0 and half of class 1, seen as class 0:

        >>> eye = torch.eye(2)
        >>> patch_alignment_loss(eye[:1], eye, torch.tensor([[0.5, 0.5]]), scale=1.0).item()  # -log(1/2)
        0.6931471824645996
    """
    check_choices(form, negatives)
    with torch.autocast(image_embeddings.device.type, enabled=False):
        image_embeddings, text_embeddings = at_least_float32(image_embeddings), at_least_float32(text_embeddings)
        logits = scale * patch_text_similarity(image_embeddings, text_embeddings)  # (N, T)
        weights = weights.to(logits.dtype)
        if negatives == "present":
            logits = torch.where(weights.sum(0) > 0, logits, _EXCLUDED)
        log_p = logits.log_softmax(dim=1)

        labelled = weights.sum(1) > 0  # (N,)
        if form == "neg_log":
            # log w is -inf at w = 0, which logsumexp takes well unless a whole row is: an unlabelled patch gets
            # zeros instead, finite in both directions, and is left out below.
            log_w = torch.where(labelled[:, None], weights.log(), 0.0)
            per_patch = -torch.logsumexp(log_w + log_p, dim=1)
        else:
            per_patch = -(weights * log_p).sum(1)
        return (per_patch * labelled).sum() / labelled.sum().clamp(min=1)


class PatchAlignmentLoss(nn.Module):
    """Projections o_image and o_text, the temperature tau, and `patch_alignment_loss` of them.

    The temperature is CLIP's: kept as log(1 / tau), so positive by construction, started at 0.07 and held at
    1 / tau <= 100. If both features have C channels, the projections start as the same orthogonal matrix: with D = C
    the similarity starts as that of the features themselves, so that CLIP's alignment is refined and not learnt anew.

    Args:
        image_dim, text_dim: channels of patch and text features.
        dim: D; 0 takes ``text_dim``.
        temperature: initial tau.
        form, negatives: see `patch_alignment_loss`.
        ignore_value: label of unlabelled pixels.
    """

    @configurable
    def __init__(
        self,
        image_dim: int,
        text_dim: int,
        *,
        dim: int = 0,
        temperature: float = 0.07,
        form: str = "neg_log",
        negatives: str = "vocabulary",
        ignore_value: int = 255,
    ) -> None:
        super().__init__()
        check_choices(form, negatives)
        dim = dim or text_dim
        self.project_image = nn.Linear(image_dim, dim, bias=False)
        self.project_text = nn.Linear(text_dim, dim, bias=False)
        nn.init.orthogonal_(self.project_image.weight)
        if image_dim == text_dim:
            self.project_text.load_state_dict(self.project_image.state_dict())
        else:
            nn.init.orthogonal_(self.project_text.weight)
        self.log_scale = log_scale_parameter(temperature, "MODEL.PATCH_ALIGNMENT.TEMPERATURE")
        self.form, self.negatives, self.ignore_value = form, negatives, ignore_value

    @classmethod
    def from_config(cls, cfg: CfgNode, image_dim: int, text_dim: int) -> dict:
        node = cfg.MODEL.PATCH_ALIGNMENT
        return {
            "image_dim": image_dim,
            "text_dim": text_dim,
            "dim": node.DIM,
            "temperature": node.TEMPERATURE,
            "form": node.FORM,
            "negatives": node.NEGATIVES,
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        }

    def forward(self, patch_features: torch.Tensor, text_features: torch.Tensor, sem_seg: torch.Tensor) -> torch.Tensor:
        """Loss of a batch.

        Args:
            patch_features: (B, C, h, w), patch tokens of the image encoder without CLS.
            text_features: (T, C'), one per class.
            sem_seg: int64 (B, H, W), classes or ``ignore_value``; padding must carry ``ignore_value``.

        Returns:
            Scalar, float32.
        """
        weights = patch_weights(sem_seg, tuple(patch_features.shape[-2:]), len(text_features), self.ignore_value)
        with torch.autocast(patch_features.device.type, enabled=False):
            patches = patch_features.flatten(2).transpose(1, 2).flatten(0, 1)  # (B, C, h, w) -> (N, C)
            dtype = self.log_scale.dtype
            image_embeddings = self.project_image(patches.to(dtype))
            text_embeddings = self.project_text(text_features.to(dtype))
            scale = held_scale(self.log_scale)
        return patch_alignment_loss(
            image_embeddings, text_embeddings, weights, scale, form=self.form, negatives=self.negatives
        )


def check_choices(form: str, negatives: str) -> None:
    """Raise ValueError, naming the config key, for an unknown form or choice of negatives."""
    for key, value, known in (("FORM", form, FORMS), ("NEGATIVES", negatives, NEGATIVES)):
        if value not in known:
            raise ValueError(f"MODEL.PATCH_ALIGNMENT.{key} must be one of {list(known)}; got {value!r}")
