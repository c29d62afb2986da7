"""Segment images with any list of words: the model behind one call.

H, W: an image's height and width. T: names in the vocabulary.
"""

import logging
import os
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from detectron2.modeling import build_model
from torch import Tensor

from physseg.config import load_config
from physseg.data.augmentations import ResizeShortestEdge
from physseg.data.vocabularies import (
    check_vocabulary,
    first_synonym_collisions,
    get_vocabulary,
    is_vocabulary,
    meant_as_source,
)
from physseg.engine.weights import load_weights, read_checkpoint
from physseg.image_arrays import as_image_list, check_image, to_tensor
from physseg.modeling.encoded import EncodedImage

logger = logging.getLogger(__name__)

# Names; or a benchmark, a registered data set or a text file that holds them.
Vocabulary = str | os.PathLike | Sequence[str]


class Predictor:
    """Open-vocabulary segmentation of images held as arrays.

    Example::

        predictor = physseg.Predictor("configs/catseg_vitb16.yaml", "model.pth", ["cat", "dog, puppy", "grass"])
        probabilities = predictor(image)["sem_seg"]
        labels = predictor.labels(image)
        predictor.set_vocabulary(["roof", "chimney"])

    An image is resized as in evaluation (INPUT.MIN_SIZE_TEST, INPUT.MAX_SIZE_TEST; TEST.SLIDING_WINDOW and the other
    TEST keys hold), so in float32 results equal evaluation's. MODEL.DEVICE says where it runs. Threads may share one:
    words and threshold of a call are its own, and the text features of names that were used before are kept.

    Args:
        config_file: a YAML file of configs/ or one of your own.
        weights: a physseg checkpoint; None leaves what MODEL.WEIGHTS says.
        vocabulary: as `set_vocabulary`; None leaves what the config says: MODEL.TEXT.VOCABULARY, else the training
            set's names.
        opts: config overrides in pairs, ``("TEST.SLIDING_WINDOW", True)``.
        precision: in the place of TEST.PRECISION: "float32", evaluation's numbers; "bf16"; or "auto", bf16 where that
            is faster (`physseg.modeling.precision`). None: what the config says, which is "auto" unless set.

    Attributes:
        model: the `PhysSeg`, in evaluation mode. cfg: its config, frozen. vocabulary: the T names in use.

    Raises:
        FileNotFoundError: no such config or weights.
        ValueError: a config key, the weights or the vocabulary do not fit; the message says what would.
    """

    def __init__(
        self,
        config_file: str | os.PathLike,
        weights: str | os.PathLike | None = None,
        vocabulary: Vocabulary | None = None,
        opts: Sequence[object] = (),
        precision: str | None = None,
    ) -> None:
        cfg = load_config(config_file, [*opts, *(("TEST.PRECISION", precision) if precision else ())])
        if weights is not None:
            cfg.MODEL.WEIGHTS = os.fspath(weights)
        if cfg.TEST.PRECISION == "by_use":
            cfg.TEST.PRECISION = "auto"
        cfg.freeze()
        # Read first: a wrong path shows before the model is built.
        checkpoint = read_checkpoint(cfg.MODEL.WEIGHTS) if cfg.MODEL.WEIGHTS else None
        names = None if vocabulary is None else resolve_vocabulary(vocabulary)
        self.cfg = cfg
        self.model = build_model(cfg).eval()
        if checkpoint is None and not getattr(self.model, "needs_training", True):
            if not cfg.MODEL.CLIP.PRETRAINED:
                logger.warning("MODEL.CLIP.PRETRAINED is empty: CLIP's weights are random; predictions are noise.")
        elif checkpoint is None:
            clip = "CLIP's weights are pretrained, all others" if cfg.MODEL.CLIP.PRETRAINED else "all its weights"
            logger.warning(
                "MODEL.WEIGHTS is empty: the model is untrained (%s are random); predictions are noise.", clip
            )
        else:
            load_weights(self.model, checkpoint, source=cfg.MODEL.WEIGHTS)
        self.vocabulary = list(self.model.vocabulary) if names is None else names
        self._resize = ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)

    def set_vocabulary(self, names: Vocabulary) -> None:
        """Use other names from the next call on; nothing is trained or loaded for it.

        Args:
            names: T names, each perhaps with synonyms ("sofa, couch": MODEL.TEXT.SYNONYMS says how they are used); or
                the name of a benchmark or registered data set ("a150"); or a text file with one name per line.

        Raises:
            TypeError, ValueError: no names, an empty one, one twice, or an unknown benchmark or file.
        """
        self.vocabulary = resolve_vocabulary(names)

    def __call__(
        self, images: np.ndarray | Sequence[np.ndarray], vocabulary: Vocabulary | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Class probabilities.

        Args:
            images: RGB uint8 (H, W, 3), or a list of them, of any sizes.
            vocabulary: as `set_vocabulary`, for this call alone; None: the names in use.

        Returns:
            Per image a dict with ``sem_seg``: float32 (T, H, W) in [0, 1] on the CPU. Every class has its own sigmoid:
            a pixel's values need not sum to 1. One image gives one dict, a list gives a list.

        Raises:
            TypeError, ValueError: an image of another type, dtype or shape; a vocabulary as in `set_vocabulary`.
        """
        arrays, single = as_image_list(images)
        names = self._names(vocabulary)
        outputs = self.model([self._input(image, names) for image in arrays]) if arrays else []
        results = [{"sem_seg": output["sem_seg"].float().cpu()} for output in outputs]
        return results[0] if single else results

    def labels(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        threshold: float = 0.0,
        vocabulary: Vocabulary | None = None,
    ) -> Tensor | list[Tensor]:
        """Index of the likeliest name per pixel; the (T, H, W) probabilities are never held whole.

        Args, errors: as `segment`.

        Returns:
            Per image int64 (H, W) on the CPU, values 0 to T - 1, or T where below the threshold.
        """
        results = self.segment(images, threshold, vocabulary=vocabulary)
        return results["labels"] if isinstance(results, dict) else [result["labels"] for result in results]

    def segment(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        threshold: float = 0.0,
        probabilities: bool = False,
        vocabulary: Vocabulary | None = None,
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Labels with their probabilities.

        Args:
            images, vocabulary: as in a call.
            threshold: pixels whose best probability is below it get index T ("other"), 0 to 1.
            probabilities: give all of them too, as a call does.

        Returns:
            Per image, on the CPU, ``labels`` int64 (H, W), values 0 to T - 1, or T where below the threshold;
            ``scores`` float32 (H, W), the best name's probability; and if asked for, ``sem_seg`` float32 (T, H, W).
            One image gives one dict, a list gives a list.

        Raises:
            TypeError, ValueError: as in a call, or a threshold out of range.
        """
        _check_threshold(threshold)
        arrays, single = as_image_list(images)
        names = self._names(vocabulary)
        wanted = {"output": "probabilities" if probabilities else "labels"}
        outputs = self.model([self._input(image, names) | wanted for image in arrays]) if arrays else []
        results = [_with_labels(output, threshold, len(names)) for output in outputs]
        return results[0] if single else results

    def encode(self, image: np.ndarray) -> EncodedImage:
        """One image as far as no word matters, for `segment_encoded`; the caller keeps it as long as it is of use.

        Raises:
            TypeError, ValueError: as in a call.
        """
        return self.model.encode_image(self._input(check_image(image), self.vocabulary))

    def segment_encoded(
        self, image: EncodedImage, vocabulary: Vocabulary | None = None, threshold: float = 0.0
    ) -> dict[str, Tensor]:
        """As `segment` of one image, with other words: text, aggregation and decoder alone run.

        Args, errors: as `segment`.
        """
        _check_threshold(threshold)
        names = self._names(vocabulary)
        return _with_labels(self.model.predict_encoded(image, names, "labels"), threshold, len(names))

    def check_size(self, image: np.ndarray) -> None:
        """Raise ValueError if the image is so narrow that resizing leaves nothing of its short side."""
        height, width = image.shape[:2]
        longest = self.cfg.INPUT.MAX_SIZE_TEST
        if max(height, width) > 2 * longest * min(height, width):
            raise ValueError(
                f"an image of {width}x{height} is too narrow: resized to INPUT.MAX_SIZE_TEST ({longest}) it has no "
                "pixels left on its short side"
            )

    def _names(self, vocabulary: Vocabulary | None) -> list[str]:
        """Read once in a call: another thread may set another vocabulary meanwhile."""
        return self.vocabulary if vocabulary is None else resolve_vocabulary(vocabulary)

    def _input(self, image: np.ndarray, names: list[str]) -> dict[str, object]:
        self.check_size(image)
        height, width = image.shape[:2]
        resized = self._resize.get_transform(image).apply_image(image)
        return {"image": to_tensor(resized), "height": height, "width": width, "vocabulary": names}


def _check_threshold(threshold: float) -> None:
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold is {threshold}; expected a probability from 0 to 1")


def _with_labels(output: dict[str, Tensor], threshold: float, other: int) -> dict[str, Tensor]:
    """The model's output of one image as `Predictor.segment` gives it."""
    result = {key: value.float().cpu() for key, value in output.items() if key != "labels"}
    labels = output.get("labels")
    if labels is None:
        result["scores"], labels = result["sem_seg"].max(dim=0)
    labels = labels.cpu()
    if threshold > 0:
        labels = labels.masked_fill(result["scores"] < threshold, other)
    return {"labels": labels} | result


def resolve_vocabulary(names: Vocabulary) -> list[str]:
    """A list of names, or the names that a benchmark or file stands for, checked.

    Raises:
        TypeError, ValueError: as `check_vocabulary` and `get_vocabulary`.
    """
    if isinstance(names, str | os.PathLike):
        try:
            names = get_vocabulary(os.fspath(names))
        except ValueError as error:
            if "," not in os.fspath(names):
                raise
            raise ValueError(f"{error}. For a list of words give a list: ['cat', 'dog']") from None
    names = check_vocabulary(names)
    _warn_of_collisions(tuple(names))
    return names


@lru_cache(maxsize=64)
def _warn_of_collisions(names: tuple[str, ...]) -> None:
    """Once per vocabulary, not once per picture."""
    for name, indices in first_synonym_collisions(names).items():
        logger.warning("%d names begin with %r: with MODEL.TEXT.SYNONYMS first, only one can win.", len(indices), name)


def split_words(words: str) -> str | list[str]:
    """Words of a command line as `resolve_vocabulary` takes them.

    "cat, dog" are two names; with semicolons, commas part synonyms: "cat; sofa, couch" are two names, too. Words
    without either may be a benchmark or a file ("a150"), else they are one name ("traffic light").

    Raises:
        ValueError: one word that looks like a file or a benchmark and is none.
    """
    separator = ";" if ";" in words else ","
    if separator in words:
        return [word.strip() for word in words.split(separator) if word.strip()]
    if not is_vocabulary(words):
        if meant := meant_as_source(words):
            raise ValueError(f"vocabulary {words!r} looks like {meant}. If it is a class's name, write {words + ';'!r}")
        return [words]
    return words
