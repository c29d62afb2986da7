"""PASCAL VOC 2012: palette PNGs with indices 0 (background), 1..20, and 255 (void border).

Two unrelated folders go by the name SegmentationClassAug: the DeepLab archive, whose masks of the official
split equal the official ones, and the output of converters of SBD, which lacks images and has no void border.
The official SegmentationClass is taken where it is complete, an Aug folder only if it looks like the former.
"""

from pathlib import Path

from physseg.data.images import read_label_map
from physseg.data.raw_formats.common import (
    Job,
    MissingInputError,
    few,
    read_list,
    require,
    require_all,
    save_labels,
    stems,
    to_train_ids,
)
from physseg.data.specs import BenchmarkSpec

_PROBES = 50


def plan(spec: BenchmarkSpec, root: Path) -> list[Job]:
    """One job per name of ImageSets/Segmentation/SPLIT.txt."""
    names = read_list(require(_list_path(spec, root), f"list of {spec.title}"))
    require_all(spec.images_path(root), names, spec.image_ext, "images")
    folder = mask_folder(spec.base_path(root), names)
    return [Job(name, str(folder / f"{name}.png")) for name in names]


def mask_folder(base: Path, names: list[str]) -> Path:
    """The folder to take the masks from.

    Raises:
        MissingInputError: neither folder has every mask, or the Aug folder has no void borders.
    """
    official, augmented = base / "SegmentationClass", base / "SegmentationClassAug"
    missing = _missing(official, names)
    if not missing:
        return official
    found = f"{len(missing)} of {len(names)} masks are missing in {official}: {few(missing)}"
    if not augmented.is_dir():
        raise MissingInputError(f"{found}; unpack VOCtrainval_11-May-2012.tar, see datasets/README.md")
    missing_too = _missing(augmented, names)
    if missing_too:
        raise MissingInputError(f"{found}; {augmented} does not serve either, without {few(missing_too)}")
    # Nearly every official mask has a void border; masks made from SBD have none.
    probes = names[:: max(1, len(names) // _PROBES)]
    bordered = sum(bool((read_label_map(augmented / f"{name}.png") == 255).any()) for name in probes)
    if 2 * bordered < len(probes):
        raise MissingInputError(
            f"{found}; {augmented} does not serve either: only {bordered} of {len(probes)} masks looked at have a "
            "void border (255), so they come from SBD, not from VOC"
        )
    return augmented


def convert(job: Job, spec: BenchmarkSpec, root: Path) -> None:
    """Take the palette's indices, map them, write."""
    save_labels(job, to_train_ids(read_label_map(job.source), spec, job.source), spec, root)


def expected_names(spec: BenchmarkSpec, root: Path, thorough: bool) -> list[str] | None:
    """The split's list."""
    path = _list_path(spec, root)
    return read_list(path) if path.is_file() else None


def _list_path(spec: BenchmarkSpec, root: Path) -> Path:
    return spec.base_path(root) / "ImageSets" / "Segmentation" / f"{spec.split}.txt"


def _missing(folder: Path, names: list[str]) -> list[str]:
    there = set(stems(folder, ".png")) if folder.is_dir() else set()
    return [name for name in names if name not in there]
