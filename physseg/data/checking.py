"""Is a data set complete and sound? Cheaply before every run, thoroughly by ``datasets/check_datasets.py``."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from physseg.data.images import (
    IMAGE_EXTENSIONS,
    LABEL_EXTENSIONS,
    BrokenFileError,
    read_image,
    read_label_map,
    read_size,
)
from physseg.data.processes import available_cores, stop_opencv_threads, worker_pool
from physseg.data.raw_formats import FORMATS
from physseg.data.raw_formats.common import few
from physseg.data.registration import files_by_stem
from physseg.data.specs import BenchmarkSpec, datasets_root, find_spec, names_sha256

logger = logging.getLogger(__name__)

READY, MISSING, INCOMPLETE, DAMAGED = "ready", "missing", "incomplete", "damaged"
_LISTED = 20


class NotPreparedError(FileNotFoundError):
    """A data set is missing or half prepared. The message says what was found and how to prepare it."""


@dataclass
class DatasetReport:
    """Outcome of ``check_dataset``.

    verdict: "ready", "missing" (nothing there), "incomplete" (files missing), "damaged" (content is wrong).
    expected: label maps; None: any number. missing: names of label maps to make, as far as the raw data tell.
    problems: one line each. classes_found: classes that occur at least once; None if the maps were not read.
    """

    name: str
    title: str
    verdict: str = READY
    expected: int | None = None
    labels: int = 0
    images: int = 0
    num_classes: int = 0
    classes_found: int | None = None
    missing: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    prepare: str = ""

    @property
    def ready(self) -> bool:
        return self.verdict == READY

    def worsen(self, verdict: str, problem: str) -> None:
        """Add a problem; the first bad verdict stays."""
        self.problems.append(problem)
        if self.verdict == READY:
            self.verdict = verdict

    def to_dict(self) -> dict:
        """Plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Target:
    """What a check needs to know of a data set, a benchmark or a user's own."""

    name: str
    title: str
    images: Path
    labels: Path
    image_extensions: tuple[str, ...]
    label_extensions: tuple[str, ...]
    num_classes: int
    ignore_label: int
    prepare: str
    spec: BenchmarkSpec | None
    root: Path


def require_prepared(
    dataset: BenchmarkSpec | str, root: str | os.PathLike | None = None, allow_partial: bool = False
) -> None:
    """Check folders, counts and pairing of a data set from its folder listings alone (well below a second).

    Args:
        dataset: a spec, its key, or any registered name.
        root: data root of a spec; default: $DETECTRON2_DATASETS, or ``datasets``.
        allow_partial: a wrong count is only logged as a warning.

    Raises:
        NotPreparedError: a folder is missing, the number of label maps is not the expected one, or a label map has
            no image. The message gives expected and found, the first missing names, and the prepare command.
        KeyError: the name is neither a benchmark's nor registered.
    """
    target = _target(dataset, root)
    report = check_dataset(dataset, root, thorough=False)
    if report.ready:
        return
    text = f"data set {target.name} is {report.verdict}: {'; '.join(report.problems)}"
    counts_only = report.verdict == INCOMPLETE and report.labels and not _orphans(target)
    if allow_partial and counts_only:
        logger.warning("%s; going on with these (DATASETS.ALLOW_PARTIAL)", text)
        return
    hint = ". To use what is there, set DATASETS.ALLOW_PARTIAL True" if counts_only else ""
    raise NotPreparedError(f"{text}. Prepare it: {report.prepare}{hint}")


def check_dataset(
    dataset: BenchmarkSpec | str,
    root: str | os.PathLike | None = None,
    thorough: bool = True,
    decode_images: bool = False,
    workers: int | None = None,
    progress: bool = False,
) -> DatasetReport:
    """Check one data set.

    Args:
        dataset: a spec, its key, or any registered name.
        root: data root of a spec; default: $DETECTRON2_DATASETS, or ``datasets``.
        thorough: read every label map (values in range, same size as its image), and large raw lists.
        decode_images: also decode every image.
        workers: processes; None: one per core.
        progress: show a bar.

    Raises:
        KeyError: the name is neither a benchmark's nor registered.
    """
    target = _target(dataset, root)
    spec = target.spec
    report = DatasetReport(
        name=spec.key if spec else target.name,
        title=target.title,
        expected=spec.num_images if spec else None,
        num_classes=target.num_classes,
        prepare=target.prepare,
    )
    listings = _list_folders(target, report)
    if listings is None:
        return report
    images, labels = listings
    report.images, report.labels = len(images), len(labels)
    _check_counts(target, report, set(images), set(labels), thorough)
    if thorough or decode_images:
        pairs = [
            (str(target.labels / labels[s]), str(target.images / images[s])) for s in sorted(labels) if s in images
        ]
        _check_files(target, report, pairs, decode_images, workers, progress)
    if report.verdict == DAMAGED and spec:
        report.prepare += " --overwrite"  # otherwise it keeps the files that are there
    return report


def format_reports(reports: Sequence[DatasetReport]) -> str:
    """A table with one line per data set, and the problems below it."""
    rows = [("data set", "verdict", "label maps", "expected", "images", "classes found")]
    for report in reports:
        found = "-" if report.classes_found is None else f"{report.classes_found} of {report.num_classes}"
        expected = "any" if report.expected is None else str(report.expected)
        rows.append((report.title, report.verdict, str(report.labels), expected, str(report.images), found))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    for report in reports:
        lines += [f"{report.title}: {problem}" for problem in report.problems]
        if not report.ready:
            lines.append(f"{report.title}: to prepare it: {report.prepare}")
    return "\n".join(lines)


def _target(dataset: BenchmarkSpec | str, root: str | os.PathLike | None) -> _Target:
    spec = find_spec(dataset) if isinstance(dataset, str) else dataset
    base = datasets_root(root)
    if spec is not None:
        return _Target(
            spec.registered_name, spec.title, spec.images_path(base), spec.labels_path(base), (spec.image_ext,),
            (spec.label_ext,), len(spec.classes), spec.ignore_label, spec.prepare_command, spec, base,
        )  # fmt: skip
    metadata = MetadataCatalog.get(dataset)
    if not hasattr(metadata, "sem_seg_root"):
        raise KeyError(
            f"data set {dataset!r} is not registered for semantic segmentation; use a benchmark's name, or declare it "
            "in DATASETS.CUSTOM (docs/own_data.md)"
        )
    return _Target(
        dataset, dataset, Path(metadata.image_root), Path(metadata.sem_seg_root), IMAGE_EXTENSIONS, LABEL_EXTENSIONS,
        len(metadata.stuff_classes), metadata.ignore_label, "see docs/own_data.md", None, base,
    )  # fmt: skip


def _list_folders(target: _Target, report: DatasetReport) -> tuple[dict[str, str], dict[str, str]] | None:
    """File names by stem of images and labels, or None with the report filled if there is nothing to check."""
    try:
        labels = files_by_stem(target.labels, target.label_extensions, "label maps", target.prepare)
        images = files_by_stem(target.images, target.image_extensions, "images", target.prepare)
    except FileNotFoundError as error:
        report.worsen(MISSING, str(error).split(";")[0])
        return None
    except ValueError as error:
        report.worsen(DAMAGED, str(error))
        return None
    if not labels:
        report.images = len(images)
        report.worsen(MISSING, f"no label maps ({', '.join(target.label_extensions)}) in {target.labels.absolute()}")
        return None
    return images, labels


def _orphans(target: _Target) -> list[str]:
    images = files_by_stem(target.images, target.image_extensions, "images", target.prepare)
    labels = files_by_stem(target.labels, target.label_extensions, "label maps", target.prepare)
    return sorted(set(labels) - set(images))


def _check_counts(target: _Target, report: DatasetReport, images: set[str], labels: set[str], thorough: bool) -> None:
    spec = target.spec
    expected = _expected_names(target, images, thorough)
    report.missing = sorted(expected - labels) if expected is not None else []
    if spec and len(labels) != spec.num_images:
        text = f"expected {spec.num_images} label maps in {target.labels}, found {len(labels)}"
        extra = sorted(labels - expected) if expected is not None else []
        if len(labels) < spec.num_images and report.missing:
            text += f"; missing: {few(report.missing)}"
        elif len(labels) > spec.num_images and extra:
            text += f"; not part of it: {few(extra)}"
        report.worsen(INCOMPLETE, text)
    elif spec and report.missing:
        report.worsen(
            INCOMPLETE, f"{len(report.missing)} label maps of the raw list are missing: {few(report.missing)}"
        )
    elif spec and spec.list_sha256 and names_sha256(sorted(labels)) != spec.list_sha256:
        report.worsen(DAMAGED, "the image names are not those behind CAT-Seg's published number (SHA-256 differs)")
    orphans = sorted(labels - images)
    if orphans:
        report.worsen(
            INCOMPLETE, f"{len(orphans)} of {len(labels)} label maps have no image in {target.images}: {few(orphans)}"
        )


def _expected_names(target: _Target, images: set[str], thorough: bool) -> set[str] | None:
    """Names that should be prepared, if the raw data or the image folder tell."""
    if target.spec is None:
        return images
    try:
        names = FORMATS[target.spec.raw_format].expected_names(target.spec, target.root, thorough)
    except (OSError, ValueError):
        names = None  # a damaged raw list is preparation's business; the prepared files can be checked without
    if names is not None:
        return set(names)
    # VOC's image folder holds all splits; the others hold this one alone.
    return None if target.spec.image_root.endswith("JPEGImages") else images


def _check_files(
    target: _Target,
    report: DatasetReport,
    pairs: list[tuple[str, str]],
    decode_images: bool,
    workers: int | None,
    progress: bool,
) -> None:
    seen = np.zeros(target.num_classes, dtype=bool)
    errors: list[str] = []
    workers = min(workers or available_cores(), max(1, len(pairs) // 16))
    with tqdm(total=len(pairs), desc=target.title, unit="image", disable=not progress) as bar:
        for error, classes in _examine_all(pairs, target, decode_images, workers):
            bar.update()
            seen[classes] = True
            if error:
                errors.append(error)
    report.classes_found = int(seen.sum())
    if pairs and not errors and not seen.any():
        errors.append(f"no label map holds a class: every pixel is {target.ignore_label} (ignored)")
    for error in errors[:_LISTED]:
        report.worsen(DAMAGED, error)
    if len(errors) > _LISTED:
        report.worsen(DAMAGED, f"and {len(errors) - _LISTED} more files with such problems")


def _examine_all(
    pairs: list[tuple[str, str]], target: _Target, decode_images: bool, workers: int
) -> Iterator[tuple[str | None, list[int]]]:
    arguments = (target.num_classes, target.ignore_label, decode_images)
    if workers <= 1:
        for pair in pairs:
            yield examine_pair(*pair, *arguments)
        return
    stop_opencv_threads()
    with worker_pool(workers) as pool:
        yield from pool.map(_examine_packed, ((*pair, *arguments) for pair in pairs), chunksize=16)


def _examine_packed(arguments: tuple) -> tuple[str | None, list[int]]:
    return examine_pair(*arguments)


def examine_pair(
    label: str, image: str, num_classes: int, ignore_label: int, decode_image: bool = False
) -> tuple[str | None, list[int]]:
    """Check one label map against its image.

    Returns:
        (problem or None, classes that occur).
    """
    try:
        labels = read_label_map(label)
        size = read_image(image).shape[:2] if decode_image else read_size(image)
    except (BrokenFileError, FileNotFoundError) as error:
        return str(error), []
    values = np.flatnonzero(np.bincount(labels.ravel())).tolist() if labels.size and labels.min() >= 0 else [-1]
    classes = [value for value in values if 0 <= value < num_classes]
    wrong = [str(value) for value in values if value != ignore_label and not 0 <= value < num_classes]
    if wrong:
        return f"{label} holds {few(wrong)}; expected 0 to {num_classes - 1}, or {ignore_label} (ignored)", classes
    if labels.shape != size:
        return f"{label} is {labels.shape[1]}x{labels.shape[0]}, its image {size[1]}x{size[0]}", classes
    return None, classes
