"""Formats whose raw labels are one index PNG per image in a folder of its own: COCO-Stuff and ADE20K-150."""

from pathlib import Path

from physseg.data.images import read_label_map
from physseg.data.raw_formats.common import (
    Job,
    MissingInputError,
    require,
    require_all,
    save_labels,
    stems,
    to_train_ids,
)
from physseg.data.specs import BenchmarkSpec


def raw_folder(spec: BenchmarkSpec, root: Path) -> Path:
    """``annotations/SPLIT`` beside the images."""
    return spec.base_path(root) / "annotations" / spec.split


def plan(spec: BenchmarkSpec, root: Path) -> list[Job]:
    """One job per raw PNG; every one must have its image."""
    folder = require(raw_folder(spec, root), f"folder of {spec.title} label maps")
    names = stems(folder, ".png")
    if not names:
        raise MissingInputError(f"no .png label maps in {folder}; see datasets/README.md for where to get them")
    require_all(spec.images_path(root), names, spec.image_ext, "images")
    return [Job(name, str(folder / f"{name}.png")) for name in names]


def convert(job: Job, spec: BenchmarkSpec, root: Path) -> None:
    """Read the indices, map them, write."""
    save_labels(job, to_train_ids(read_label_map(job.source), spec, job.source), spec, root)


def expected_names(spec: BenchmarkSpec, root: Path, thorough: bool) -> list[str] | None:
    """The raw folder's listing."""
    folder = raw_folder(spec, root)
    return stems(folder, ".png") if folder.is_dir() else None
