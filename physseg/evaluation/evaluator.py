"""Semantic segmentation evaluator: one dataset, its own formulas, independent of the installed Detectron2.

Letters: H W original image size, T prompts given to the model, N evaluated classes (N < T on PAS-20b).
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
import torch.distributed as dist
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from torch import Tensor

from physseg.data.images import read_label_map
from physseg.evaluation.boundary_iou import boundary_counts, boundary_iou
from physseg.evaluation.confusion import confusion_matrix
from physseg.evaluation.image_counts import ImageCounts
from physseg.evaluation.metrics import SCORES, SegmentationMetrics, segmentation_metrics
from physseg.evaluation.thin_parts import thin_counts
from physseg.timing import stage

logger = logging.getLogger(__name__)

BOUNDARY_IOU = "boundary_IoU"
RegionCounts = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
"""Prediction and target (H, W), N, ignore label -> (3, N) int64: intersection, true and predicted pixels somewhere."""


class SegmentationEvaluator(DatasetEvaluator):
    """Counts every image once and computes the metrics of `metrics.py`; works in one process or many.

    Args:
        title: what messages call the dataset.
        class_names: names of the N evaluated classes.
        ignore_label: value of unlabelled pixels in the label maps.
        label_files: image file name -> label map file, for every image of the dataset.
        num_prompts: T, the number of names the model is given.
        fold_from: predicted indices >= this become this class, after the argmax (PAS-20b); None folds nothing.
        background, threshold: after the argmax, pixels whose best probability is below the threshold become this class;
            None: there is no such class.
        device: where the counting is done, normally the model's.
        boundary_dilation: distance of Boundary IoU over the image diagonal; 0 leaves it out.
        regions: name of a metric -> what counts it, for IoU over other parts of an image.

    Attributes:
        images: the `ImageCounts` this process has counted, by file name.
    """

    def __init__(
        self,
        title: str,
        class_names: Sequence[str],
        ignore_label: int,
        label_files: Mapping[str, str],
        *,
        num_prompts: int | None = None,
        fold_from: int | None = None,
        background: int | None = None,
        threshold: float = 0.0,
        device: str | torch.device = "cpu",
        boundary_dilation: float = 0.0,
        regions: Mapping[str, RegionCounts] | None = None,
    ) -> None:
        self.title = title
        self.class_names = list(class_names)
        self.ignore_label = ignore_label
        self.label_files = label_files
        self.num_prompts = len(self.class_names) if num_prompts is None else num_prompts
        self.fold_from = fold_from
        self.background, self.threshold = background, threshold
        self.device = torch.device(device)
        boundary = {BOUNDARY_IOU: partial(boundary_counts, dilation_ratio=boundary_dilation)}
        self.regions: dict[str, RegionCounts] = (boundary if boundary_dilation else {}) | dict(regions or {})
        if fold_from is None and self.num_prompts != len(self.class_names):
            raise ValueError(
                f"{title}: {self.num_prompts} prompts for {len(self.class_names)} classes, and no class to fold into"
            )
        self.reset()

    @property
    def num_classes(self) -> int:
        """N."""
        return len(self.class_names)

    def reset(self) -> None:
        """Forget everything counted."""
        self.images: dict[str, ImageCounts] = {}
        self.skip: set[str] = set()
        self.result: SegmentationMetrics | None = None
        self.boundary_result = None
        self._matrix = torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64)
        # Three rows for each region.
        self._regions = torch.zeros(3 * len(self.regions), self.num_classes, dtype=torch.int64)

    def restore(self, images: Sequence[ImageCounts], counted_here: bool = True) -> None:
        """Take over what an interrupted run counted.

        ``counted_here`` False only marks the images as done: another process counts them.
        """
        for counts in images:
            if counts.file_name in self.skip:
                continue
            self.skip.add(counts.file_name)
            if counted_here:
                self._add(counts)

    def pending(self, inputs: Sequence[dict]) -> list[dict]:
        """Drop the inputs that are counted already."""
        return [x for x in inputs if x["file_name"] not in self.skip]

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Count a batch.

        Args:
            inputs: dicts with ``file_name``, a key of ``label_files``. An image seen before does not count again.
            outputs: dicts with ``labels``, int64 (H, W) prompt indices (and, for a background threshold, their
                probabilities ``scores``), or else ``sem_seg``, (T, H, W) scores.

        Raises:
            ValueError: the model's classes are not the dataset's, a shape differs, or a label is neither a class nor
                the ignore label; the message names the file.
            KeyError: an image is not of this dataset.
        """
        for x, output in zip(inputs, outputs, strict=True):
            name = x["file_name"]
            if name in self.skip:
                continue
            if name not in self.label_files:
                raise KeyError(f"{self.title}: {name} is no image of this dataset; was its loader used?")
            with stage("io"):
                target = torch.from_numpy(read_label_map(self.label_files[name]))
            with stage("metric"):
                self._add(self._count(x, output, target))
            self.skip.add(name)

    def evaluate(self) -> OrderedDict | None:
        """Put the processes' counts together and compute the metrics.

        Returns:
            ``{"sem_seg": {mIoU, mIoU_old, fwIoU, mACC, pACC, N_gt, N_gt_or_pred, [boundary_IoU, regions,]
            IoU-<class>...}}`` in the main process, x100; None in the others. ``result`` holds the same with arrays.
        """
        matrix, regions = self._reduced()
        if not comm.is_main_process():
            return None
        self.result = segmentation_metrics(matrix)
        values = self.result.summary()
        for name, counts in zip(self.regions, regions.numpy().reshape(-1, 3, self.num_classes), strict=True):
            iou = boundary_iou(counts)
            values[name] = float(np.nanmean(iou)) if counts[1].any() else float("nan")
            if name == BOUNDARY_IOU:
                self.boundary_result = iou
        for i, name in enumerate(self.class_names):
            values[f"IoU-{name}"] = float(self.result.iou[i])
        return OrderedDict(sem_seg=values)

    def labels_of(self, output: dict) -> Tensor:
        """Return the evaluated class index of every pixel, int64 (H, W): argmax first, then folding or background."""
        if "labels" in output:
            labels = output["labels"]
        else:
            scores = output["sem_seg"]
            if scores.shape[0] != self.num_prompts:
                raise ValueError(
                    f"{self.title}: the model gives {scores.shape[0]} classes where the vocabulary has "
                    f"{self.num_prompts}; give it the dataset's own vocabulary"
                )
            labels = scores.argmax(dim=0)
        if self.background is not None and self.threshold > 0:
            best = output["scores"] if "labels" in output else output["sem_seg"].amax(dim=0)
            labels = labels.masked_fill(best < self.threshold, self.background)
        if self.fold_from is None:
            return labels
        # Folding would hide an index that is no prompt's: it becomes one that is no class either.
        return torch.where(labels < self.num_prompts, labels.clamp(max=self.fold_from), -1)

    def _labels(self, x: dict, output: dict) -> Tensor:
        vocabulary = x.get("vocabulary")
        if vocabulary is not None and len(vocabulary) != self.num_prompts:
            raise ValueError(
                f"{self.title}: {x['file_name']} was given a vocabulary of {len(vocabulary)} names, expected "
                f"{self.num_prompts}"
            )
        return self.labels_of(output).to(self.device)

    def _count(self, x: dict, output: dict, target: Tensor) -> ImageCounts:
        """One image's counts. A GPU is waited for by the label map's way there and the counts' way back."""
        name, labels = x["file_name"], self._labels(x, output)
        try:
            matrix = confusion_matrix(
                labels, target.to(self.device), self.num_classes, self.ignore_label, self.label_files[name]
            )
        except ValueError:
            self._check_prompts(output)
            raise
        maps = (labels.cpu().numpy(), target.numpy(), self.num_classes, self.ignore_label) if self.regions else ()
        counts = [count(*maps) for count in self.regions.values()]
        return ImageCounts.from_matrix(name, matrix, np.concatenate(counts) if counts else None)

    def _check_prompts(self, output: dict) -> None:
        """Say which predicted class folding has hidden, if one it was."""
        if self.fold_from is not None and "labels" in output and int(output["labels"].max()) >= self.num_prompts:
            raise ValueError(
                f"{self.title}: predicted class {int(output['labels'].max())}, but the vocabulary has "
                f"{self.num_prompts} names"
            )

    def _add(self, counts: ImageCounts) -> None:
        self.images[counts.file_name] = counts
        counts.add_to(self._matrix, self._regions)

    def _reduced(self) -> tuple[Tensor, Tensor]:
        matrix, regions = self._matrix.clone(), self._regions.clone()
        if comm.get_world_size() == 1:
            return matrix, regions
        # A sampler that pads gives one image to two processes: the lowest rank keeps it, exactly.
        earlier = set().union(*comm.all_gather(list(self.images))[: comm.get_rank()])
        for name in earlier & self.images.keys():
            self.images[name].add_to(matrix, regions, sign=-1)
        # NCCL adds up what is on GPUs.
        matrix, regions = matrix.to(self.device), regions.to(self.device)
        dist.all_reduce(matrix)
        dist.all_reduce(regions)
        return matrix.cpu(), regions.cpu()


def build_evaluator(cfg, dataset_name: str) -> SegmentationEvaluator:
    """Build the evaluator of a registered dataset from its catalog entries.

    Raises:
        KeyError: the dataset is not registered.
        FileNotFoundError: its files are missing (from the catalog).
    """
    meta = MetadataCatalog.get(dataset_name)
    records = DatasetCatalog.get(dataset_name)
    classes = list(meta.stuff_classes)
    folds = meta.get("evaluator_type", "sem_seg") == "sem_seg_background"
    return SegmentationEvaluator(
        dataset_name,
        classes,
        meta.ignore_label,
        {record["file_name"]: record["sem_seg_file_name"] for record in records},
        num_prompts=len(meta.get("vocabulary", classes)),
        fold_from=len(classes) - 1 if folds else None,
        background=meta.get("background"),
        threshold=cfg.TEST.BACKGROUND_THRESHOLD,
        device=cfg.MODEL.DEVICE,
        boundary_dilation=cfg.TEST.BOUNDARY_DILATION if cfg.TEST.BOUNDARY_IOU else 0.0,
        regions=regions_from_config(cfg),
    )


def regions_from_config(cfg) -> dict[str, RegionCounts]:
    """Metrics of TEST.BOUNDARY_WIDTHS ("boundary_IoU_0.01") and TEST.THIN_WIDTH ("thin_IoU")."""
    regions = {
        f"{BOUNDARY_IOU}_{width:g}": partial(boundary_counts, dilation_ratio=width)
        for width in cfg.TEST.BOUNDARY_WIDTHS
    }
    if cfg.TEST.THIN_WIDTH:
        regions["thin_IoU"] = partial(thin_counts, width_ratio=cfg.TEST.THIN_WIDTH)
    return regions


def label_map_metrics(cfg) -> list[str]:
    """Names of the metrics that an evaluation with this config counts on label maps."""
    return [*SCORES, *([BOUNDARY_IOU] if cfg.TEST.BOUNDARY_IOU else []), *regions_from_config(cfg)]
