"""Make the features of a teacher's views ahead of ZeroSeg's training: 30 views an image, in half precision.

Example, on a GPU, and then the training:

    python tools/make_teacher_features.py --config-file configs/without_masks/zeroseg_vitb16.yaml \\
        --output teacher_features MODEL.DEVICE cuda
    python tools/train_net.py --config-file configs/without_masks/zeroseg_vitb16.yaml \\
        MODEL.ZEROSEG.TEACHER.FEATURES teacher_features

What it will take on disk is said before anything is computed. Blocks of 1,024 images that are done are kept: after an
interruption, run the same command again.
"""

import argparse
import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from physseg.cli.arguments import new_parser, number, some_path
from physseg.config import check_config, check_device, load_config
from physseg.data.images import BrokenFileError, read_image
from physseg.data.pairs.loading import training_records
from physseg.data.pairs.sources import TARS, training_kind
from physseg.data.pairs.teacher import teacher_settings, teacher_shape
from physseg.data.pairs.teacher_cache import BLOCK, Plan, plan_cache
from physseg.data.pairs.views import grid_views
from physseg.data.processes import stop_opencv_threads, worker_context
from physseg.modeling.without_masks.segclip_parts import plain_clip
from physseg.modeling.without_masks.teacher import teacher_features
from physseg.paths import writable_folder

logger = logging.getLogger(__name__)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument("--config-file", default="configs/without_masks/zeroseg_vitb16.yaml", help="a ZeroSeg config")
    parser.add_argument(
        "--output", type=some_path, help="folder of the features; default: MODEL.ZEROSEG.TEACHER.FEATURES"
    )
    parser.add_argument("--images-at-once", type=number(int, 1), default=8, metavar="N", help="per pass of the teacher")
    parser.add_argument("--dry-run", action="store_true", help="say what it takes, make nothing")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config overrides; last")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Make what is missing."""
    args = parser().parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    check_config(cfg)
    check_device(cfg.MODEL.DEVICE)
    if cfg.MODEL.META_ARCHITECTURE != "ZeroSeg":
        raise ValueError(
            f"{args.config_file}: MODEL.META_ARCHITECTURE is {cfg.MODEL.META_ARCHITECTURE}; expected ZeroSeg, the one "
            "that learns from a teacher's features"
        )
    folder = args.output or cfg.MODEL.ZEROSEG.TEACHER.FEATURES
    if not folder:
        raise ValueError("where to? Give --output DIR, or set MODEL.ZEROSEG.TEACHER.FEATURES")
    if training_kind(cfg) == TARS:
        raise ValueError(
            f"DATASETS.TRAIN {', '.join(cfg.DATASETS.TRAIN)}: features are made of images in a folder; unpack the "
            "tars, or train with MODEL.ZEROSEG.TEACHER.FEATURES ''"
        )
    records = training_records(cfg)
    plan = plan_cache(folder, [record["image_id"] for record in records], teacher_settings(cfg), teacher_shape(cfg))
    print(described(plan))
    if args.dry_run or not plan.missing:
        return 0
    plan.check_space()
    writable_folder(folder)
    todo = [index for block in plan.missing for index in plan.indices(block)]
    features = _features(cfg, [records[index] for index in todo], args.images_at_once)
    for _ in tqdm(plan.write(features), total=len(todo), unit="image"):
        pass
    return 0


def described(plan: Plan) -> str:
    """What a plan takes: "1,281,167 images x 30 views x 768 numbers of 2 bytes: 59.0 GB in DIR"."""
    views, channels = plan.shape
    whole = 2 * views * channels * len(plan.ids)
    text = (
        f"{len(plan.ids):,} images x {views} views x {channels} numbers of 2 bytes: {whole / 1e9:.3g} GB in "
        f"{plan.folder}"
    )
    left = sum(len(plan.indices(block)) for block in plan.missing)
    if left == len(plan.ids):
        return text
    return f"{text}; {left:,} images, {plan.bytes / 1e9:.3g} GB, are left ({len(plan.missing)} blocks of {BLOCK:,})"


class _Views(Dataset):
    """Views of every record; None for a file that cannot be read, where that is allowed."""

    def __init__(self, records: Sequence[dict], grids: Sequence[int], size: int, skip_broken: bool) -> None:
        self.records, self.grids, self.size, self.skip_broken = records, tuple(grids), size, skip_broken

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> torch.Tensor | None:
        try:
            image = read_image(self.records[index]["file_name"])
        except BrokenFileError as error:
            if not self.skip_broken:
                raise BrokenFileError(
                    f"{error}; repair or remove the file, or set DATALOADER.SKIP_BROKEN True"
                ) from error
            logger.warning("skipped: %s", error)
            return None
        return torch.from_numpy(np.ascontiguousarray(grid_views(image, self.grids, self.size)))


def _features(cfg: CfgNode, records: Sequence[dict], images_at_once: int) -> Iterator[np.ndarray]:
    """(V, E) of every record, in their order; NaN where a file cannot be read."""
    node, workers = cfg.MODEL.ZEROSEG.TEACHER, cfg.DATALOADER.NUM_WORKERS
    device = torch.device(cfg.MODEL.DEVICE)
    clip = plain_clip(cfg).to(device).eval()
    mean, std = (torch.tensor(x, device=device).view(-1, 1, 1) for x in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    stop_opencv_threads()
    loader = DataLoader(
        _Views(records, node.GRIDS, node.IMAGE_SIZE, cfg.DATALOADER.SKIP_BROKEN),
        batch_size=images_at_once,
        num_workers=workers,
        collate_fn=list,
        multiprocessing_context=worker_context(workers),
    )
    for batch in loader:
        seen = [views for views in batch if views is not None]
        found = iter(teacher_features(clip, torch.stack(seen).to(device), mean, std).cpu().numpy() if seen else ())
        for views in batch:
            yield np.full(teacher_shape(cfg), np.nan) if views is None else next(found)
