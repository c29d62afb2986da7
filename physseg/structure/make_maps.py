"""Structure maps of whole data sets: all cores, resumable, safe against interruption."""

import dataclasses
import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import torch

from ..data.images import read_image, read_label_map
from ..data.processes import worker_pool
from ..io import write_json_atomic
from . import make_structure_maps
from .maps import map_path, write_map
from .options import StructureOptions
from .superpoint import SuperPointSource


@dataclasses.dataclass(frozen=True)
class MapJob:
    """One image: its files and the map of every source still to be made."""

    image: str
    labels: str | None
    ignore_label: int
    targets: dict[str, Path]


def plan(
    records: Iterable[dict],
    base: str | os.PathLike,
    root: str | os.PathLike,
    options: StructureOptions,
    ignore_label: int,
) -> list[MapJob]:
    """Jobs for the maps that are not there yet.

    Args:
        records: dicts with ``file_name``, and ``sem_seg_file_name`` if "edge_gt" is asked for.
        base: folder that the images' paths are taken relative to.
        root: where the maps go, see `maps.map_path`.
        options: ``sources`` says which.
        ignore_label: of the label files.

    Raises:
        ValueError: the maps under ``root`` were made with other options.
    """
    for source in options.sources:
        _check_same_options(Path(root).expanduser() / source, dataclasses.asdict(getattr(options, source)))
    jobs = []
    for record in records:
        paths = {source: map_path(root, source, record["file_name"], base) for source in options.sources}
        targets = {source: path for source, path in paths.items() if not path.exists()}
        if targets:
            jobs.append(MapJob(record["file_name"], record.get("sem_seg_file_name"), ignore_label, targets))
    return jobs


def make_maps(
    jobs: Sequence[MapJob], options: StructureOptions, workers: int, device: str = "cpu"
) -> Iterator[str | None]:
    """Make the maps of ``jobs`` in ``workers`` processes (1: in this one).

    Args:
        jobs: from `plan`.
        options: settings of the sources.
        workers: number of processes.
        device: where SuperPoint runs.

    Yields:
        Per job None, or what was wrong with its files; the others go on.

    Raises:
        ImportError, FileNotFoundError: SuperPoint is asked for and cannot be loaded.
    """
    if workers <= 1:
        _start_worker(options, device)
        yield from map(_make, jobs)
        return
    # CUDA and OpenCV's threads do not survive a fork of this process; a fork server imports once and has neither.
    server = "forkserver" in multiprocessing.get_all_start_methods()
    if server:
        multiprocessing.get_context("forkserver").set_forkserver_preload([__name__])
    method = "forkserver" if server else "spawn"
    with worker_pool(workers, method, _start_worker, (options, device, True)) as pool:
        yield from pool.map(_make, jobs, chunksize=max(1, min(16, len(jobs) // (4 * workers))))


def _check_same_options(folder: Path, settings: dict) -> None:
    path = folder / "options.json"
    settings = json.loads(json.dumps(settings))  # tuples become lists, as in the file
    if not path.exists():
        write_json_atomic(path, settings)
    elif (found := _read_json(path)) != settings:
        raise ValueError(
            f"the maps in {folder} were made with {found}, now {settings} is asked for: "
            "remove the folder or name another"
        )


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return "settings that cannot be read"


_worker: tuple[StructureOptions, SuperPointSource, str] | None = None


def _start_worker(options: StructureOptions, device: str, alone_on_core: bool = False) -> None:
    global _worker
    if alone_on_core:
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
    _worker = (options, SuperPointSource(options.superpoint), device)


def _make(job: MapJob) -> str | None:
    options, superpoint, device = _worker
    options = dataclasses.replace(options, sources=tuple(job.targets), maps_sources=())
    try:
        image = read_image(job.image)
        labels = read_label_map(job.labels) if job.labels and "edge_gt" in job.targets else None
        maps = make_structure_maps(image, labels, options, job.ignore_label)
    except (OSError, ValueError) as error:
        return f"{job.image}: {error}"
    for channel in options.model_channels:
        (found,) = superpoint([torch.from_numpy(image).permute(2, 0, 1).to(device)])
        maps[channel] = found.cpu().numpy()
    for path, structure in zip(job.targets.values(), maps, strict=True):
        write_map(path, structure)
    return None
