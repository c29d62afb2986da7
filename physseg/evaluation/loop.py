"""The loop over a dataset: load, predict, count, say how long it will take."""

import contextlib
import datetime
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from torch import nn

from physseg.evaluation.evaluator import SegmentationEvaluator

logger = logging.getLogger(__name__)


@dataclass
class Timing:
    """Seconds of one process. ``io`` is waiting for images and reading label maps; ``model`` holds its resizing."""

    images: int = 0
    total: float = 0.0
    model: float = 0.0
    metric: float = 0.0
    io: float = 0.0

    def shares(self) -> dict[str, float]:
        """Fractions of the total that model, metric, I/O and the rest took."""
        whole = max(self.total, 1e-9)
        parts = {"model": self.model / whole, "metric": self.metric / whole, "io": self.io / whole}
        return {**parts, "other": max(0.0, 1.0 - sum(parts.values()))}


def evaluate_dataset(
    model: Callable[[list[dict]], list[dict]],
    loader: Iterable[list[dict]],
    evaluator: SegmentationEvaluator,
    *,
    on_batch: Callable[[list[dict]], None] | None = None,
    timing: Timing | None = None,
    seconds_between_reports: float = 10.0,
) -> dict:
    """Run a model over a loader and return what `SegmentationEvaluator.evaluate` returns ({} off the main process).

    The caller resets or restores the evaluator; images it has already are not predicted again. A model that is an
    ``nn.Module`` is in eval mode meanwhile, and nothing records gradients.

    Args:
        model: list of dicts -> list of dicts with ``labels`` or ``sem_seg``.
        loader: batches; its length is in batches.
        evaluator: counts.
        on_batch: called with the inputs of every batch once it is counted.
        timing: filled with where the time went.
        seconds_between_reports: of the progress line.
    """
    timing = Timing() if timing is None else timing
    batches = len(loader)
    start = reported = time.perf_counter()
    spent_before = dict(evaluator.seconds)
    with contextlib.ExitStack() as stack:
        if isinstance(model, nn.Module):
            stack.enter_context(inference_context(model))
        stack.enter_context(torch.no_grad())
        waiting = start
        for index, inputs in enumerate(loader, start=1):
            timing.io += time.perf_counter() - waiting
            inputs = evaluator.pending(inputs)
            if inputs:
                begin = time.perf_counter()
                outputs = model(inputs)
                _wait_for_device()
                timing.model += time.perf_counter() - begin
                evaluator.process(inputs, outputs)
                timing.images += len(inputs)
                # 847 classes at full size are the largest tensors here; they go before the next prediction.
                del outputs
                if on_batch is not None:
                    on_batch(inputs)
            waiting = time.perf_counter()
            if comm.is_main_process() and (waiting - reported > seconds_between_reports or index == batches):
                reported = waiting
                _report(evaluator.title, index, batches, waiting - start)
    timing.total += time.perf_counter() - start
    timing.io += evaluator.seconds["io"] - spent_before["io"]
    timing.metric += evaluator.seconds["metric"] - spent_before["metric"]
    return evaluator.evaluate() or {}


def _wait_for_device() -> None:
    # Without it the model's time would be booked on whatever first needs its result.
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _report(title: str, done: int, total: int, seconds: float) -> None:
    left = datetime.timedelta(seconds=round(seconds / done * (total - done)))
    logger.info("%s: %d/%d batches, %.2f batches/s, ETA %s", title, done, total, done / max(seconds, 1e-9), left)
