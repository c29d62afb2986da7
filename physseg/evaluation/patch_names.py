"""What L_sac claims: does CLIP give a patch the name of what is in it? Measured before the segmentation head.

Every patch of the token grid takes the name whose text feature is nearest to the patch's dense feature: the largest
entry of the cost volume that the head reads. The right name is the one that most of the patch's pixels have.

Letters: B images, h w patch grid, T prompts, N evaluated classes, E embedding channels.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from torch import Tensor, nn

from physseg.data.images import read_label_map
from physseg.evaluation.seen_unseen import seen_by_name
from physseg.losses.patch_alignment import patch_weights

# A patch counts if at least this share of it is labelled; of the others it is not known what they show.
_LABELLED_SHARE = 0.5


def patch_labels(sem_seg: Tensor, grid: tuple[int, int], num_classes: int, ignore_label: int) -> Tensor:
    """Class of every patch: the one of most of its pixels, the lower index on a tie.

    Args:
        sem_seg: int64 (B, H, W), classes or ``ignore_label``; covers the patch grid.

    Returns:
        int64 (B, h, w); ``ignore_label`` where less than half of a patch is labelled.
    """
    weights = patch_weights(sem_seg, grid, num_classes, ignore_label)  # (B h w, N)
    labels = torch.where(weights.sum(1) >= _LABELLED_SHARE, weights.argmax(1), ignore_label)
    return labels.view(len(sem_seg), *grid)


def count_patches(predicted: Tensor, true: Tensor, num_classes: int, ignore_label: int) -> Tensor:
    """int64 (2, N): patches of each true class, and those of them given the right name. Any shape, both the same."""
    known = true != ignore_label
    true, right = true[known], (predicted == true)[known]
    return torch.stack([torch.bincount(x, minlength=num_classes) for x in (true, true[right])])


def patch_accuracies(counts: np.ndarray, seen: np.ndarray) -> dict[str, float]:
    """(2, N) of `count_patches` -> shares of right patches, x100: all, and those of seen and unseen names.

    Args:
        seen: (M,) bool, M <= N; classes from M on (PAS-20b's background, which stands for many names) are in neither.

    Returns:
        ``patch_accuracy``, ``patch_accuracy_seen``, ``patch_accuracy_unseen``; NaN without such patches.
    """
    named = counts[:, : len(seen)]
    groups = {"": counts, "_seen": named[:, seen], "_unseen": named[:, ~seen]}
    shares = {}
    for suffix, (total, right) in groups.items():
        shares[f"patch_accuracy{suffix}"] = float(100 * right.sum() / total.sum()) if total.sum() else float("nan")
    return shares


@torch.no_grad()
def name_similarity(model: nn.Module, image: Tensor, vocabulary: Sequence[str]) -> Tensor:
    """Cosine of every patch and every name, of an image seen whole: resized to CLIP's square, whatever the windows.

    Args:
        model: a PhysSeg, or a ClipSegmenter or PACL, whose own ``features`` are taken.
        image: (3, H, W) RGB in 0-255.

    Returns:
        (T, h, w).
    """
    image = (image.to(model.device, model.pixel_mean.dtype) - model.pixel_mean) / model.pixel_std
    size = (model.clip.image_size, model.clip.image_size)
    square = F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)
    text = F.normalize(model.text_features(tuple(vocabulary)).mean(1), dim=-1)  # (T, P, E) -> (T, E)
    dense = model.features(square) if hasattr(model, "features") else model.clip(square).dense
    return torch.einsum("behw,te->bthw", F.normalize(dense, dim=1), text)[0]


def nearest_names(model: nn.Module, image: Tensor, vocabulary: Sequence[str]) -> Tensor:
    """The name nearest to every patch, int64 (h, w), indices into ``vocabulary``; arguments as in `name_similarity`."""
    return name_similarity(model, image, vocabulary).argmax(0)


def evaluate_patch_names(
    model: nn.Module, loader: Iterable[Sequence[Mapping]], dataset_name: str, training_classes: Sequence[str]
) -> dict[str, float]:
    """`patch_accuracies` of a PhysSeg on a data set, over all processes.

    Args:
        model: a PhysSeg in evaluation mode.
        loader: of `build_test_loader`; an image that comes twice counts twice.
        dataset_name: a registered name.
        training_classes: names seen in training.
    """
    meta = MetadataCatalog.get(dataset_name)
    files = {record["file_name"]: record["sem_seg_file_name"] for record in DatasetCatalog.get(dataset_name)}
    classes, ignore_label = list(meta.stuff_classes), meta.ignore_label
    # PAS-20b folds the names from its last class on into that class, after the argmax.
    folds = meta.get("evaluator_type", "sem_seg") == "sem_seg_background"
    counts = torch.zeros(2, len(classes), dtype=torch.int64)
    for x in (x for batch in loader for x in batch):
        names = nearest_names(model, x["image"], x["vocabulary"]).cpu()
        if folds:
            names = names.clamp(max=len(classes) - 1)
        labels = torch.from_numpy(read_label_map(files[x["file_name"]])).long()[None]
        true = patch_labels(labels, tuple(names.shape), len(classes), ignore_label)[0]
        counts += count_patches(names, true, len(classes), ignore_label)
    if comm.get_world_size() > 1:
        counts = counts.to(model.device)
        dist.all_reduce(counts)
    named = classes[:-1] if folds else classes
    return patch_accuracies(counts.cpu().numpy(), seen_by_name(named, training_classes))
