"""Raw files -> prepared label maps: the loop over the images of a split, parallel and resumable.

An output that exists is complete, since files appear under their names only when written whole; so a second
run does what the first one left. Raw folders are only read.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from physseg.data.processes import available_cores, stop_opencv_threads, worker_pool
from physseg.data.raw_formats import FORMATS
from physseg.data.raw_formats.common import Job
from physseg.data.specs import BenchmarkSpec, datasets_root

logger = logging.getLogger(__name__)


@dataclass
class ConversionResult:
    """What a run did. ``failures``: (image name, message)."""

    total: int = 0
    converted: int = 0
    kept: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)


def convert(
    spec: BenchmarkSpec,
    root: str | os.PathLike | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> ConversionResult:
    """Prepare one data set.

    Args:
        spec: which.
        root: data root; None: $DETECTRON2_DATASETS or ``datasets``.
        workers: processes; None: one per core this process may use.
        overwrite: write outputs that exist again.
        progress: show a bar.

    Returns:
        Counts, and the images that failed; the others are done nevertheless.

    Raises:
        raw_formats.common.MissingInputError: raw files are missing; nothing has been written.
        ValueError: the raw index cannot be used.
    """
    root = datasets_root(root)
    jobs = FORMATS[spec.raw_format].plan(spec, root)
    if len(jobs) != spec.num_images:
        logger.warning("%s: the raw data list %d images, expected %d", spec.title, len(jobs), spec.num_images)
    result = ConversionResult(total=len(jobs))
    if not overwrite:
        done = _finished(spec, root)
        jobs = [job for job in jobs if job.name not in done]
    result.kept = result.total - len(jobs)
    workers = min(workers or available_cores(), max(1, len(jobs) // 8))
    with tqdm(total=result.total, initial=result.kept, desc=spec.title, unit="image", disable=not progress) as bar:
        for name, error in _run(jobs, spec, root, workers):
            bar.update()
            if error:
                result.failures.append((name, error))
            else:
                result.converted += 1
    return result


def makes_images(spec: BenchmarkSpec) -> bool:
    """True if preparation writes the images too."""
    return spec.raw_format in ("ade_full", "cityscapes")


def _finished(spec: BenchmarkSpec, root: Path) -> set[str]:
    done = _names(spec.labels_path(root), spec.label_ext)
    return done & _names(spec.images_path(root), spec.image_ext) if makes_images(spec) else done


def _names(folder: Path, suffix: str) -> set[str]:
    if not folder.is_dir():
        return set()
    return {name[: -len(suffix)] for name in os.listdir(folder) if name.endswith(suffix) and name[0] != "."}


def _run(jobs: list[Job], spec: BenchmarkSpec, root: Path, workers: int) -> Iterator[tuple[str, str | None]]:
    if workers <= 1:
        _set_task(spec, root)
        yield from map(_convert_one, jobs)
        return
    stop_opencv_threads()
    with worker_pool(workers, initializer=_init_worker, initargs=(spec, root)) as pool:
        yield from pool.map(_convert_one, jobs, chunksize=max(1, min(32, len(jobs) // (4 * workers))))


_spec: BenchmarkSpec
_root: Path


def _init_worker(spec: BenchmarkSpec, root: Path) -> None:
    stop_opencv_threads()  # where processes are spawned, they begin with OpenCV's defaults
    _set_task(spec, root)


def _set_task(spec: BenchmarkSpec, root: Path) -> None:
    # Sent once to each process instead of with each job.
    global _spec, _root
    _spec, _root = spec, root


def _convert_one(job: Job) -> tuple[str, str | None]:
    try:
        FORMATS[_spec.raw_format].convert(job, _spec, _root)
    except (OSError, ValueError, KeyError) as error:
        return job.name, f"{type(error).__name__}: {error}"
    return job.name, None
