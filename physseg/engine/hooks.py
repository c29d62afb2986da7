"""Hooks of training: learning rates, checkpoints, evaluation, and an orderly end on Ctrl-C."""

import contextlib
import logging
import math
import sys
from collections.abc import Callable, Mapping

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.engine import hooks as d2_hooks
from detectron2.utils import comm

from physseg import signals
from physseg.engine.checkpointing import TrainingCheckpointer
from physseg.engine.random_state import capture_random_state
from physseg.evaluation.evaluator import label_map_metrics

logger = logging.getLogger(__name__)


class TrainingInterrupted(signals.Stopped):
    """Training ended early because it was asked to; a checkpoint is saved. The message says how to go on."""


class LRScheduler(d2_hooks.LRScheduler):
    """Steps the scheduler; logs learning rates: the head's as ``lr``, others as ``lr_clip``, ``lr_backbone``."""

    def after_step(self) -> None:
        for group in self._optimizer.param_groups:
            part = group.get("name", "head").partition("_")[0]
            name = "lr" if part == "head" else f"lr_{part}"
            self.trainer.storage.put_scalar(name, group["lr"], smoothing_hint=False)
        self.scheduler.step()


class Throughput(HookBase):
    """Logs images per second over all processes and the peak memory of this one."""

    def __init__(self, images_per_iteration: int) -> None:
        self._images = images_per_iteration

    def after_step(self) -> None:
        storage = self.trainer.storage
        seconds, iteration = storage.latest().get("time", (0.0, -1))
        if iteration == self.trainer.iter and seconds > 0:
            storage.put_scalar("images_per_second", self._images / seconds)
        storage.put_scalar("max_memory_mb", peak_memory_mb(), smoothing_hint=False)


class Checkpointing(HookBase):
    """Saves a checkpoint every ``period`` iterations, after the last one, and when a stop is asked for.

    Runs in every process: random states differ between them, and all are in the checkpoint.
    """

    def __init__(self, checkpointer: TrainingCheckpointer, period: int) -> None:
        self._checkpointer = checkpointer
        self._period = period
        self._saved = -1

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done >= self.trainer.max_iter:
            self._save("model_final")
        elif self.trainer.stop_requested:
            self.save_and_stop(self.trainer.stop_requested)
        elif done % self._period == 0:
            self._save(f"model_{self.trainer.iter:07d}")

    def save_and_stop(self, number: int) -> None:
        """Save the state after this iteration, if that is not done, and raise `TrainingInterrupted`.

        Called in all processes or in none; ``number`` is the signal's.
        """
        if self._saved != self.trainer.iter:
            self._save(f"model_{self.trainer.iter:07d}")
        raise TrainingInterrupted(
            f"Training was interrupted after iteration {self.trainer.iter}; its state is saved. "
            "Run the same command with --resume to continue.",
            number,
        )

    def _save(self, name: str) -> None:
        extra = training_extras(self.trainer.iter, self.trainer.loader_state)
        error = ""
        try:
            self._checkpointer.save(name, **extra)
        except OSError as failure:
            error = str(failure)
        # Only the main process writes, but none may go on and wait for it in vain.
        error = comm.all_gather(error)[0]
        if error:
            raise OSError(error)
        self._saved = self.trainer.iter


def training_extras(iteration: int, loader_state: Mapping | None = None) -> dict:
    """What a checkpoint holds besides model, trainer and average.

    Iteration, all processes' random states and, joined, what their loaders need to go on (`TrainStep.loader_state`).
    """
    states, loaders = zip(*comm.all_gather((capture_random_state(), dict(loader_state or {}))), strict=True)
    joined = {key: value for state in loaders for key, value in state.items()}
    extras = {"iteration": iteration, "random_states": list(states), "world_size": comm.get_world_size()}
    return extras | ({"loader": joined} if joined else {})


class EvalHook(d2_hooks.EvalHook):
    """Detectron2's, but the final evaluation runs only if training came to its end, and a stop does not wait for one.

    Args:
        period, evaluate: as Detectron2's. ``evaluate`` raises `Stopped` in all processes or in none.
        save_and_stop: see `Checkpointing`.
    """

    def __init__(self, period: int, evaluate: Callable[[], Mapping], save_and_stop: Callable[[int], None]) -> None:
        super().__init__(period, evaluate)
        self._save_and_stop = save_and_stop

    def after_step(self) -> None:
        try:
            super().after_step()
        except signals.Stopped as stop:
            self._save_and_stop(stop.number)

    def after_train(self) -> None:
        # iter == max_iter only after the last iteration has succeeded; Detectron2's condition also holds if it failed.
        if self.trainer.iter >= self.trainer.max_iter:
            super().after_train()


class BestCheckpoint(HookBase):
    """Keeps ``model_best.pth``, by a metric that `EvalHook` logs. Stands after it.

    Args:
        checkpointer: saves it.
        metric: TEST.BEST_METRIC, larger being better.
    """

    def __init__(self, checkpointer: TrainingCheckpointer, metric: str) -> None:
        self._checkpointer = checkpointer
        self._metric = metric
        self._evaluated = -1

    def after_step(self) -> None:
        self._check()

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self._check()

    def _check(self) -> None:
        value, iteration = self.trainer.storage.latest().get(self._metric, (math.nan, -1))
        # Only the main process has the value.
        value, iteration = comm.all_gather((value, iteration))[0]
        if iteration <= self._evaluated or math.isnan(value):
            return
        self._evaluated = iteration
        best = self.trainer.best
        if best is not None and value <= best["value"]:
            return
        step = min(self.trainer.iter, self.trainer.max_iter - 1)
        self.trainer.best = {"metric": self._metric, "value": value, "iteration": step}
        self._checkpointer.save_best(self._metric, value, **training_extras(step, self.trainer.loader_state))
        logger.info("Best so far: %s %.2f after iteration %d.", self._metric, value, step)


class StopOnSignal(HookBase):
    """Lets Ctrl-C and SIGTERM wait for the iteration in progress: `TrainStep` agrees on them, `Checkpointing` saves.

    From the last iteration on they act as elsewhere in a program; one that came too late to be agreed on, then.
    """

    def before_train(self) -> None:
        self._deferral = contextlib.ExitStack()
        self._deferral.enter_context(
            signals.deferred("Stopping after this iteration; a checkpoint will be saved. Once more to stop at once.")
        )

    def after_train(self) -> None:
        # Called after an error too, which then is the reason to end.
        self._deferral.__exit__(*sys.exc_info())


def peak_memory_mb() -> float:
    """Peak memory in MiB: of this process's tensors on the GPU, or without one of the process itself."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def check_best_metric(cfg: CfgNode) -> None:
    """Check that evaluating DATASETS.TEST gives TEST.BEST_METRIC.

    Raises:
        ValueError: it does not; the message lists the choices.
    """
    names, wanted, metrics = cfg.DATASETS.TEST, cfg.TEST.BEST_METRIC, label_map_metrics(cfg)
    places = ("mean_", *(f"{name}/" for name in names))
    if names and wanted not in {f"{place}{metric}" for place in places for metric in metrics}:
        raise ValueError(
            'TEST.BEST_METRIC must be "mean_<metric>" or "<data set>/<metric>", the metric one of '
            f"{', '.join(metrics)} (boundary_IoU where TEST.BOUNDARY_IOU is True), the data set one of DATASETS.TEST: "
            f"{', '.join(names)}; got {wanted!r}."
        )


def metric_value(results: Mapping[str, Mapping], name: str) -> float:
    """Value of one metric of an evaluation; NaN if nothing was evaluated.

    Args:
        results: data set name -> ``{"sem_seg": {"mIoU": ...}}``.
        name: "<data set>/<metric>", or "mean_<metric>" for the mean over the data sets.
    """
    dataset, _, metric = name.rpartition("/")
    chosen = [results[dataset]] if dataset else results.values()
    values = [result["sem_seg"][metric.removeprefix("mean_")] for result in chosen if result.get("sem_seg")]
    return sum(values) / len(values) if values else math.nan


def mean_miou(results: Mapping[str, Mapping]) -> float:
    """`metric_value` of "mean_mIoU"."""
    return metric_value(results, "mean_mIoU")
