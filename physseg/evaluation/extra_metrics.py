"""What TEST asks for beside the label maps' metrics. Each looks at every image once more, through CLIP alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from detectron2.config import CfgNode
from torch import nn

from physseg.evaluation.evaluator import label_map_metrics
from physseg.evaluation.group_purity import evaluate_group_purity
from physseg.evaluation.patch_names import evaluate_patch_names
from physseg.evaluation.pointing import evaluate_pointing

_EXTRA = {
    "PATCH_ACCURACY": ("patch_accuracy", "patch_accuracy_seen", "patch_accuracy_unseen"),
    "GROUP_PURITY": ("group_purity", "group_purity_shuffled", "groups_used"),
    "POINTING_ACCURACY": ("pointing_accuracy",),
}


def metric_names(cfg: CfgNode) -> list[str]:
    """Names of all metrics that an evaluation with this config gives."""
    return [*label_map_metrics(cfg), *(name for key, names in _EXTRA.items() if cfg.TEST[key] for name in names)]


def extra_metrics(
    model: nn.Module,
    cfg: CfgNode,
    dataset_name: str,
    training_classes: Sequence[str],
    build_loader: Callable[[], Iterable[Sequence[Mapping]]],
) -> dict[str, float]:
    """Metrics by name, over all processes; NaN where a data set has nothing to count. Empty if nothing is asked for.

    Args:
        model: in evaluation mode.
        training_classes: names seen in training.
        build_loader: gives every image of the data set.
    """
    found: dict[str, float] = {}
    if cfg.TEST.PATCH_ACCURACY:
        found |= evaluate_patch_names(model, build_loader(), dataset_name, training_classes)
    if cfg.TEST.GROUP_PURITY:
        found |= evaluate_group_purity(model, build_loader(), dataset_name)
    if cfg.TEST.POINTING_ACCURACY:
        found |= evaluate_pointing(model, build_loader(), dataset_name)
    return found
