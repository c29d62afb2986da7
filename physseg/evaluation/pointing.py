"""The pointing game (Zhang et al., ECCV 2016): is the patch most similar to a name on what has that name?

It asks about the similarities alone: no competition between names, no outlines. For every image and every class in
it, the patch with the largest similarity to the class's prompt points at the pixel under its centre; a hit if that
pixel has the class. No margin around objects is allowed.

Letters: T prompts, N evaluated classes, h w patch grid, H W pixels.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.distributed as dist
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from torch import Tensor, nn

from physseg.data.images import read_label_map
from physseg.evaluation.patch_names import name_similarity


def count_hits(similarity: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """int64 (2,): classes of an image that are asked for, and hits.

    Args:
        similarity: (T, h, w), T >= num_classes; prompts from num_classes on are not asked for.
        labels: int64 (H, W); values that are no class are unlabelled.
        num_classes: of those that are asked for.
    """
    present = labels.unique()
    present = present[(present >= 0) & (present < num_classes)]
    (h, w), (height, width) = similarity.shape[-2:], labels.shape
    place = similarity[present].flatten(1).argmax(1).cpu()
    row, column = ((2 * (place // w) + 1) * height // (2 * h), (2 * (place % w) + 1) * width // (2 * w))
    return torch.stack([torch.tensor(len(present)), (labels[row, column] == present).sum()])


def evaluate_pointing(model: nn.Module, loader: Iterable[Sequence[Mapping]], dataset_name: str) -> dict[str, float]:
    """``pointing_accuracy`` on a data set, x100, over all processes; NaN if no class is in any image.

    Args:
        model: in evaluation mode; as in `name_similarity`.
        loader: of `build_test_loader`; an image that comes twice counts twice.
        dataset_name: a registered name.
    """
    meta = MetadataCatalog.get(dataset_name)
    files = {record["file_name"]: record["sem_seg_file_name"] for record in DatasetCatalog.get(dataset_name)}
    # A class that many prompts are folded into has no similarity of its own.
    folds = meta.get("evaluator_type", "sem_seg") == "sem_seg_background"
    num_classes = len(meta.stuff_classes) - folds
    counts = torch.zeros(2, dtype=torch.int64)
    for x in (x for batch in loader for x in batch):
        labels = torch.from_numpy(read_label_map(files[x["file_name"]])).long()
        labels[labels == meta.ignore_label] = -1
        counts += count_hits(name_similarity(model, x["image"], x["vocabulary"]), labels, num_classes)
    if comm.get_world_size() > 1:
        counts = counts.to(model.device)
        dist.all_reduce(counts)
    asked, hits = counts.tolist()
    return {"pointing_accuracy": 100 * hits / asked if asked else float("nan")}
