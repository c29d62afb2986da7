"""Image files in, predictions out: which files, what is written for each, and what happens to broken ones.

H, W: an image's height and width. T: names in the vocabulary.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from physseg.data.images import IMAGE_EXTENSIONS, read_image
from physseg.image_arrays import check_image
from physseg.inference.formats import DEFAULT_FORMATS, FORMATS, OVERLAY, write_format, write_overlay
from physseg.inference.prediction import Prediction
from physseg.inference.predictor import Predictor

VIDEO_EXTENSIONS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")


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


def find_files(inputs: Iterable[str | os.PathLike], output: str | os.PathLike) -> list[Job]:
    """Files and, recursively, the images and videos of folders, each with a target of its own.

    A folder's tree is repeated in the output folder. What lies in the output folder is left out, so that a second run
    does not take the first one's pictures as input. Files whose targets would be the same keep their ending in it.
    """
    output = Path(output)
    found: dict[Path, Path] = {}
    for entry in map(Path, inputs):
        if not entry.is_dir():
            found.setdefault(entry, output / entry.name)
            continue
        for path in sorted(entry.rglob("*")):
            known = path.suffix.lower() in (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS)
            if known and path.is_file() and output.resolve() not in path.resolve().parents:
                found.setdefault(path, output / path.relative_to(entry))
    stems = Counter(target.with_suffix("") for target in found.values())
    taken: set[Path] = set()
    jobs = []
    for source, target in found.items():
        if stems[target.with_suffix("")] > 1:
            target = target.with_name(target.name.replace(".", "_"))
        else:
            target = target.with_suffix("")
        while target in taken:  # files of one name from several folders
            target = target.with_name(target.name + "_")
        taken.add(target)
        jobs.append(Job(source, target))
    return jobs


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
        write_prediction(job, prediction, options)
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
