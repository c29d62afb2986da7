"""A visitor's picture, and what the models made of it so far.

What no word changes is computed once per picture and model and kept: another word costs text, aggregation and decoder.

H, W: the picture's height and width. T: words.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from physseg.inference.predictor import Predictor
from physseg.modeling.encoded import EncodedImage


@dataclass(frozen=True)
class Answer:
    """What a model says of a picture.

    labels: int64 (H, W), indices into the T words. scores: float32 (H, W), their probabilities. encoding: seconds for
    what no word changes, None where it was kept. naming: seconds for the words.
    """

    model: str
    words: list[str]
    labels: np.ndarray
    scores: np.ndarray
    encoding: float | None
    naming: float


@dataclass
class Session:
    """One picture, uint8 (H, W, 3), and by model what is kept of it."""

    image: np.ndarray
    name: str
    encoded: dict[str, EncodedImage] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)


class Models:
    """Predictors by name, loaded when first asked for.

    Args:
        loaders: name -> a function that gives the predictor.
    """

    def __init__(self, loaders: Mapping[str, Callable[[], Predictor]]) -> None:
        self._loaders = dict(loaders)
        self._predictors: dict[str, Predictor] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        return list(self._loaders)

    def answer(self, session: Session, model: str, words: list[str]) -> Answer:
        """Segment the session's picture with T words; remembered in the session.

        Raises:
            ValueError: no such model; or words as `Predictor.set_vocabulary`.
        """
        # One picture at a time: more would share the processor and all be slower.
        with self._lock:
            predictor = self._load(model)
            start = time.perf_counter()
            fresh = model not in session.encoded
            if fresh:
                session.encoded[model] = predictor.encode(session.image)
            middle = time.perf_counter()
            result = predictor.segment_encoded(session.encoded[model], words)
            naming = time.perf_counter() - middle
            encoding = middle - start if fresh else None
        answer = Answer(model, words, result["labels"].numpy(), result["scores"].numpy(), encoding, naming)
        session.answers[model] = answer
        return answer

    def _load(self, name: str) -> Predictor:
        if name not in self._loaders:
            raise ValueError(f"There is no model {name!r} here; choose one of {', '.join(self._loaders)}.")
        if name not in self._predictors:
            self._predictors[name] = self._loaders[name]()
        return self._predictors[name]
