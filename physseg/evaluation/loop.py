"""The loop over a dataset: load, predict, count, say how long it will take."""

import contextlib
import datetime
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from torch import nn

from physseg import signals
from physseg.evaluation.evaluator import SegmentationEvaluator
from physseg.timing import REST, Clock, collect_stages, device_clock, stage

logger = logging.getLogger(__name__)


STAGES = ("model", "resize", "metric", "io")
"""What evaluation's time is spent on: the model up to its logits; resizing them to the output and choosing labels;
counting; waiting for images and reading label maps."""


@dataclass
class Timing:
    """Images of one process and its seconds by stage: `STAGES`, and "other"."""

    images: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self.seconds.values())

    def shares(self) -> dict[str, float]:
        """Fractions of the total."""
        whole = max(self.total, 1e-9)
        return {name: self.seconds.get(name, 0.0) / whole for name in (*STAGES, REST)}


def evaluate_dataset(
    model: Callable[[list[dict]], list[dict]],
    loader: Iterable[list[dict]],
    evaluator: SegmentationEvaluator,
    *,
    on_batch: Callable[[list[dict]], None] | None = None,
    timing: Timing | None = None,
    clock: Clock | None = None,
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
        timing: filled with where the time went; without it nothing is timed.
        clock: of the timing; default: one that waits for the evaluator's device.
        seconds_between_reports: of the progress line.

    Raises:
        physseg.signals.Stopped: where Ctrl-C or SIGTERM are deferred, as in training: in all processes, after a batch.
    """
    batches = len(loader)
    together = comm.get_world_size() > 1
    start = reported = time.perf_counter()
    with contextlib.ExitStack() as stack:
        if together:
            # All processes end here or none does: none is left waiting for another's counts.
            stack.enter_context(signals.deferred("Stopping after this batch. Once more to stop at once."))
        if isinstance(model, nn.Module):
            stack.enter_context(inference_context(model))
        stack.enter_context(torch.no_grad())
        if timing is not None:
            stack.enter_context(collect_stages(timing.seconds, clock or device_clock(evaluator.device)))
        for index, inputs in enumerate(_batches(loader), start=1):
            inputs = evaluator.pending(inputs)
            if inputs:
                with stage("model"):
                    outputs = model(inputs)
                evaluator.process(inputs, outputs)
                if timing is not None:
                    timing.images += len(inputs)
                # 847 classes at full size are the largest tensors here; they go before the next prediction.
                del outputs
                if on_batch is not None:
                    on_batch(inputs)
            now = time.perf_counter()
            if comm.is_main_process() and (now - reported > seconds_between_reports or index == batches):
                reported = now
                _report(evaluator.title, index, batches, now - start)
            if signals.requested():
                break
        if number := max(comm.all_gather(signals.requested())):
            raise signals.Stopped(number=number)
    return evaluator.evaluate() or {}


def _batches(loader: Iterable[list[dict]]) -> Iterator[list[dict]]:
    with stage("io"):
        batches = iter(loader)
    while True:
        with stage("io"):
            inputs = next(batches, None)
        if inputs is None:
            return
        yield inputs


def _report(title: str, done: int, total: int, seconds: float) -> None:
    left = datetime.timedelta(seconds=round(seconds / done * (total - done)))
    logger.info("%s: %d/%d batches, %.2f batches/s, ETA %s", title, done, total, done / max(seconds, 1e-9), left)
