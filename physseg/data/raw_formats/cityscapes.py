"""Cityscapes: ``leftImg8bit`` images and ``gtFine`` PNGs of label ids, both in a folder per city.

Label maps of 19 train ids, and the images beside them, go into flat folders under the names they share: the images as
hard links where the file system has them, which take no room.
"""

import os
import shutil
from pathlib import Path

from physseg.data.images import read_label_map
from physseg.data.raw_formats.common import Job, MissingInputError, few, require, save_labels, to_train_ids
from physseg.data.specs import BenchmarkSpec
from physseg.io import atomic_write

IMAGE_SUFFIX, LABEL_SUFFIX = "_leftImg8bit.png", "_gtFine_labelIds.png"


def plan(spec: BenchmarkSpec, root: Path) -> list[Job]:
    """One job per label map of the split. Source: (label map, image)."""
    base = spec.base_path(root)
    folder = require(base / "gtFine" / spec.split, f"folder of {spec.title} label maps")
    labels = sorted(folder.glob(f"*/*{LABEL_SUFFIX}"))
    if not labels:
        raise MissingInputError(f"no *{LABEL_SUFFIX} in {folder}/CITY; see datasets/README.md for where to get them")
    jobs = [Job(_name(label), (str(label), str(_image(label, spec, base)))) for label in labels]
    missing = [job.source[1] for job in jobs if not os.path.isfile(job.source[1])]
    if missing:
        raise MissingInputError(f"{len(missing)} of {len(jobs)} images of {spec.title} are missing: {few(missing, 3)}")
    return jobs


def convert(job: Job, spec: BenchmarkSpec, root: Path) -> None:
    """Map the ids, write; put the image beside."""
    label, image = job.source
    target = spec.images_path(root) / f"{job.name}{spec.image_ext}"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(image, target)
    except FileExistsError:
        pass
    except OSError:  # another file system, or one without links
        with atomic_write(target) as temporary:
            shutil.copyfile(image, temporary)
    save_labels(job, to_train_ids(read_label_map(label), spec, label), spec, root)


def expected_names(spec: BenchmarkSpec, root: Path, thorough: bool) -> list[str] | None:
    """The raw folders' listing."""
    folder = spec.base_path(root) / "gtFine" / spec.split
    return [_name(label) for label in folder.glob(f"*/*{LABEL_SUFFIX}")] if folder.is_dir() else None


def _name(label: Path) -> str:
    return label.name.removesuffix(LABEL_SUFFIX)


def _image(label: Path, spec: BenchmarkSpec, base: Path) -> Path:
    return base / "leftImg8bit" / spec.split / label.parent.name / f"{_name(label)}{IMAGE_SUFFIX}"
