"""Do groups of patches keep to one class? Asked before any word: of SegCLIP's centres and ZeroSeg's segments.

The purity of a window is the share of its labelled pixels whose class is the most frequent one of their group.

W windows, K groups, N classes.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.distributed as dist
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from torch import Tensor, nn

from physseg.data.augmentations import nearest_centres
from physseg.data.images import read_label_map


def count_pure(groups: Tensor, labels: Tensor, ignore_label: int) -> Tensor:
    """int64 (3,): pixels whose class is the most frequent one of their group, labelled pixels, groups that have some.

    Args:
        groups: int64 (h, w), 0 and up. labels: int64 (h, w), classes or ``ignore_label``.
    """
    known = labels != ignore_label
    if not known.any():
        return torch.zeros(3, dtype=torch.int64)
    classes = int(labels[known].max()) + 1
    size = (int(groups.max()) + 1) * classes
    counts = torch.bincount(groups[known] * classes + labels[known], minlength=size).view(-1, classes)
    return torch.stack([counts.amax(1).sum(), known.sum(), (counts.sum(1) > 0).sum()])


def shuffled_patches(groups: Tensor, patch: int, generator: torch.Generator) -> Tensor:
    """The control: groups (h, w) of the same sizes whose patches lie anywhere. What is no whole patch stays."""
    rows, columns = (side // patch for side in groups.shape)
    inside = groups[: rows * patch, : columns * patch]
    blocks = inside.unflatten(0, (rows, patch)).unflatten(2, (columns, patch)).transpose(1, 2).flatten(0, 1)
    blocks = blocks[torch.randperm(len(blocks), generator=generator)]
    result = groups.clone()
    result[: rows * patch, : columns * patch] = (
        blocks.unflatten(0, (rows, columns)).transpose(1, 2).flatten(2).flatten(0, 1)
    )
    return result


def evaluate_group_purity(model: nn.Module, loader: Iterable[Sequence[Mapping]], dataset_name: str) -> dict[str, float]:
    """Purity of a `GroupSegmenter`'s groups on a data set, over all processes.

    Args:
        model: in evaluation mode.
        loader: of `build_test_loader`; an image that comes twice counts twice.
        dataset_name: a registered name.

    Returns:
        ``group_purity`` and the control's, ``group_purity_shuffled``, x100, and ``groups_used``, the mean number of
        groups in a window; NaN without a labelled pixel.
    """
    files = {record["file_name"]: record["sem_seg_file_name"] for record in DatasetCatalog.get(dataset_name)}
    ignore_label = MetadataCatalog.get(dataset_name).ignore_label
    generator = torch.Generator().manual_seed(0)
    own, control, windows = torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), 0
    for x in (x for batch in loader for x in batch):
        encoded = model.encode_image(x)
        height, width = encoded.plan.canvas
        labels = torch.from_numpy(read_label_map(files[x["file_name"]])).long()
        rows = torch.from_numpy(nearest_centres(labels.shape[0], height))
        labels = labels[rows[:, None], torch.from_numpy(nearest_centres(labels.shape[1], width))]
        for groups, (top, left) in zip(encoded.pixels.cpu(), encoded.plan.corners, strict=True):
            part = labels[top : top + groups.shape[0], left : left + groups.shape[1]]
            own += count_pure(groups, part, ignore_label)
            control += count_pure(shuffled_patches(groups, model.patch, generator), part, ignore_label)
            windows += 1
    counts = torch.cat([own, control, torch.tensor([windows])])
    if comm.get_world_size() > 1:
        counts = counts.to(model.device)
        dist.all_reduce(counts)
    pure, total, used, shuffled, _, _, windows = counts.tolist()
    share = 100 / total if total else float("nan")
    return {
        "group_purity": pure * share,
        "group_purity_shuffled": shuffled * share,
        "groups_used": used / windows if windows else float("nan"),
    }
