"""A video in, a video of overlays out, through OpenCV."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from physseg.data.images import BrokenFileError
from physseg.inference.files import Job, OutputOptions
from physseg.inference.predictor import Predictor
from physseg.io import atomic_write, write_json_atomic
from physseg.paths import reason, special_kind
from physseg.visualization import legend, overlay

# Containers whose header has no count of frames: OpenCV works it out from length and rate, and may be off.
_ESTIMATED = (".mkv", ".webm")
_TOLERANCE = 0.02


def frame_count(path: Path) -> int:
    """Frames that the file's header promises; 0 if it cannot be read.

    Raises:
        BrokenFileError: it is no regular file: opening a pipe would wait without end.
    """
    try:
        if kind := special_kind(path):
            raise BrokenFileError(f"cannot read video {path}: it is {kind}")
    except OSError as error:
        if isinstance(error, BrokenFileError):
            raise
        raise BrokenFileError(f"cannot read video {path}: {reason(error)}") from None
    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return max(count, 0)


def predict_video(predictor: Predictor, job: Job, options: OutputOptions, batch_size: int = 1) -> Iterator[int]:
    """Predict every frame by itself; yields the number of frames done.

    Writes ``TARGET_overlay.mp4``, ``TARGET_legend.png`` with the names that occur, and ``TARGET.json`` with the shares
    of pixels over all frames. Sound is not kept.

    Raises:
        BrokenFileError: the file cannot be read, holds no frame, or fewer than it promises (what could be read is
            written).
        OSError: the output cannot be written: a full disk, say.
    """
    promised = frame_count(job.source)
    names = options.names(predictor.vocabulary)
    capture = cv2.VideoCapture(str(job.source))
    counts = np.zeros(len(names), np.int64)
    done = 0
    try:
        fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
        with atomic_write(job.target.with_name(job.target.name + "_overlay.mp4")) as temporary:
            writer = None
            for batch in _batches(capture, batch_size):
                writer = writer or _writer(temporary, fps, batch[0].shape)
                for frame, labels in zip(batch, predictor.labels(batch, options.threshold), strict=True):
                    labels = labels.numpy()
                    picture = overlay(frame, labels, names, options.alpha, show_legend=False)
                    writer.write(np.ascontiguousarray(picture[..., ::-1]))
                    counts += np.bincount(labels.ravel(), minlength=len(names))
                done += len(batch)
                yield done
            if writer is None:
                raise BrokenFileError(f"cannot read video {job.source}: no frame could be decoded")
            writer.release()
            _check_written(temporary, done, job)
    finally:
        capture.release()
    _write_summary(job, names, counts, done, fps, promised)
    if _some_are_missing(job.source, done, promised):
        raise BrokenFileError(
            f"video {job.source}: only {done} of {promised} frames could be decoded; the results hold these alone"
        )


def _some_are_missing(path: Path, done: int, promised: int) -> bool:
    allowed = 1 + _TOLERANCE * promised if path.suffix.lower() in _ESTIMATED else 0
    return promised - done > allowed


def _check_written(path: Path, frames: int, job: Job) -> None:
    """OpenCV's writer says nothing of a full disk: count what has arrived."""
    arrived = frame_count(path)
    if arrived != frames:
        raise OSError(
            f"the overlay of {job.source} cannot be written: {arrived} of {frames} frames arrived in "
            f"{job.target.parent}; is the disk full?"
        )


def _batches(capture: cv2.VideoCapture, size: int) -> Iterator[list[np.ndarray]]:
    """Frames, RGB, `size` at a time."""
    batch = []
    while True:
        more, frame = capture.read()
        if more:
            batch.append(frame[..., ::-1])
        if batch and (not more or len(batch) == size):
            yield batch
            batch = []
        if not more:
            return


def _writer(path: Path, fps: float, shape: tuple[int, ...]) -> cv2.VideoWriter:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (shape[1], shape[0]))
    if not writer.isOpened():
        raise OSError(
            f"OpenCV cannot write video {path}: its build has no MPEG-4 encoder, or the folder is not writable"
        )
    return writer


def _write_summary(job: Job, names: Sequence[str], counts: np.ndarray, frames: int, fps: float, promised: int) -> None:
    order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i]]
    with atomic_write(job.target.with_name(job.target.name + "_legend.png")) as temporary:
        Image.fromarray(legend(np.repeat(np.arange(len(names)), counts > 0)[None], names)).save(temporary)
    share = {names[i]: round(float(counts[i] / counts.sum()), 6) for i in order}
    write_json_atomic(
        job.target.with_name(job.target.name + ".json"),
        {
            "video": str(job.source),
            "frames": frames,
            "frames_promised": promised,
            "fps": fps,
            "names": list(names),
            "share": share,
        },
    )
