"""Image files in, predictions out: what is written for each, and what happens to broken ones.

H, W: an image's height and width. T: names in the vocabulary.
"""

import errno
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from physseg.data.images import read_image
from physseg.image_arrays import check_image
from physseg.inference.formats import DEFAULT_FORMATS, FORMATS, OVERLAY, write_format, write_overlay
from physseg.inference.prediction import Prediction
from physseg.inference.predictor import Predictor
from physseg.paths import reason

# Trouble with one file's name or size; any other (a full disk) would be the next file's, too.
_OF_ONE_FILE = (errno.ENAMETOOLONG, errno.EFBIG, errno.EISDIR)


@dataclass(frozen=True)
class Job:
    """One file to predict. target: path of its outputs without their endings."""

    source: Path
    target: Path


@dataclass(frozen=True)
class OutputOptions:
    """threshold: below it a pixel is `other`, 0 to 1. alpha: weight of the overlay's colours. picture: jpg or png.

    formats: what is written, names of `physseg.inference.formats`. model: what the files say made them.
    """

    threshold: float = 0.0
    other: str = "other"
    alpha: float = 0.55
    picture: str = "jpg"
    formats: tuple[str, ...] = DEFAULT_FORMATS
    model: str = ""

    def names(self, vocabulary: Sequence[str]) -> list[str]:
        """Name of every label value: the vocabulary's, then `other` where a threshold can give it.

        Raises:
            ValueError: the vocabulary has that name already.
        """
        if self.threshold <= 0:
            return list(vocabulary)
        if self.other in vocabulary:
            raise ValueError(f"the vocabulary has a name {self.other!r} already; choose another one by --other")
        return [*vocabulary, self.other]


def predict_files(
    predictor: Predictor, jobs: Iterable[Job], options: OutputOptions, batch_size: int = 1
) -> Iterator[tuple[Job, str]]:
    """Predict and write, `batch_size` images at a time; yields every job as it ends, with what was wrong or "".

    Raises:
        OSError: the output cannot be written.
    """
    names = options.names(predictor.vocabulary)
    waiting: list[tuple[Job, np.ndarray]] = []
    for job in jobs:
        try:
            image = check_image(read_image(job.source))
            predictor.check_size(image)
        except OSError as error:  # its message names the file
            yield job, str(error)
            continue
        except ValueError as error:
            yield job, f"{job.source}: {error}"
            continue
        waiting.append((job, image))
        if len(waiting) == batch_size:
            yield from _predict_batch(predictor, waiting, names, options)
            waiting = []
    if waiting:
        yield from _predict_batch(predictor, waiting, names, options)


def _predict_batch(
    predictor: Predictor, batch: list[tuple[Job, np.ndarray]], names: Sequence[str], options: OutputOptions
) -> Iterator[tuple[Job, str]]:
    everything = any(FORMATS[name].probabilities for name in options.formats if name != OVERLAY)
    results = predictor.segment([image for _, image in batch], options.threshold, everything)
    for (job, image), result in zip(batch, results, strict=True):
        labels, scores = result["labels"].numpy(), result["scores"].numpy()
        probabilities = result["sem_seg"].numpy() if everything else None
        prediction = Prediction(job.source, image, labels, names, scores, probabilities, options.model)
        try:
            write_prediction(job, prediction, options)
        except OSError as error:
            if error.errno not in _OF_ONE_FILE:
                raise
            yield job, f"{job.source}: its results cannot be written: {reason(error)}"
        else:
            yield job, ""


def write_prediction(job: Job, prediction: Prediction, options: OutputOptions) -> list[Path]:
    """Write a prediction in all formats of the options, each file at once; returns their paths."""
    paths = []
    for name in options.formats:
        if name == OVERLAY:
            paths.append(write_overlay(job.target, prediction, options.alpha, options.picture))
        else:
            paths.append(write_format(name, job.target, prediction))
    return paths
