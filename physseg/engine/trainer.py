"""The trainer: Detectron2's DefaultTrainer with this recipe's optimizer, an exact resume, and our evaluation."""

import contextlib
import logging
import weakref
from collections.abc import Iterable, Iterator
from functools import partial

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, create_ddp_model
from detectron2.engine import hooks as d2_hooks
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from physseg.config import check_config
from physseg.data.checking import NotPreparedError, require_prepared
from physseg.data.custom import register_custom
from physseg.data.registration import check_registered
from physseg.engine.checkpointing import TrainingCheckpointer, clear_the_way, read_best, remove_partial_files
from physseg.engine.ema import WeightEMA
from physseg.engine.gradients import keep_compiled_graphs
from physseg.engine.hooks import (
    BestCheckpoint,
    Checkpointing,
    EvalHook,
    LRScheduler,
    StopOnSignal,
    Throughput,
    check_best_metric,
    metric_value,
)
from physseg.engine.loss_balance import build_loss_balance
from physseg.engine.optimizer import build_optimizer
from physseg.engine.random_state import preserved_random_state, restore_random_state
from physseg.engine.structure_pictures import StructurePictures
from physseg.engine.train_step import StepOptions, TrainStep
from physseg.engine.weights import load_weights
from physseg.engine.writers import build_writers
from physseg.folder_lock import folder_lock

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Trains the model of a config.

    Use as Detectron2's: ``trainer = Trainer(cfg); trainer.resume_or_load(resume=...); trainer.train()``. Subclasses may
    replace ``build_model``, ``build_train_loader`` and ``test``.

    Attributes:
        best: metric, value and iteration of ``model_best.pth``, or None.
    """

    def __init__(self, cfg: CfgNode) -> None:
        # DefaultTrainer's own constructor builds loader and optimizer before it is known where training starts, and
        # wraps models on the CPU as if they were on a GPU. The rest of DefaultTrainer is used as it is.
        super(DefaultTrainer, self).__init__()
        check_config(cfg)
        check_best_metric(cfg)
        # A subclass's own evaluation may know other names.
        if cfg.DATASETS.TEST and getattr(type(self).test, "__func__", None) is Trainer.test.__func__:
            check_test_data(cfg)
        cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        self.cfg = cfg
        model = self.build_model(cfg)
        if cfg.ENGINE.CHANNELS_LAST:
            model = model.to(memory_format=torch.channels_last)
        optimizer = self.build_optimizer(cfg, model)
        self.ema = WeightEMA(model, cfg.SOLVER.EMA.DECAY) if cfg.SOLVER.EMA.ENABLED else None
        step, balance = StepOptions.from_config(cfg), build_loss_balance(cfg)
        if cfg.ENGINE.COMPILE and (step.gradient_period or balance is not None):
            keep_compiled_graphs()
        self._trainer = TrainStep(_distributed(model), optimizer, step, self.ema, balance)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        states = {"trainer": weakref.proxy(self)} | ({"ema": self.ema} if self.ema is not None else {})
        self.checkpointer = TrainingCheckpointer(self.model, cfg.OUTPUT_DIR, keep=cfg.ENGINE.KEEP_CHECKPOINTS, **states)
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.best: dict | None = None
        self._random_states: list[dict] = []
        self._loader_state: dict = {}
        self.register_hooks(self.build_hooks())

    @property
    def stop_requested(self) -> int:
        """The signal that asked for a stop, or 0; the same in all processes after an iteration."""
        return self._trainer.stop_requested

    @property
    def loader_state(self) -> dict:
        """See `TrainStep.loader_state`."""
        return self._trainer.loader_state

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from the newest readable checkpoint in OUTPUT_DIR, or start afresh from MODEL.WEIGHTS.

        Without ``resume``, what an earlier training left in OUTPUT_DIR is moved to a folder ``previous-N`` in it.

        Raises:
            physseg.folder_lock.FolderInUseError: another training runs in OUTPUT_DIR.
            FileNotFoundError: MODEL.WEIGHTS, or every checkpoint, is missing or damaged.
            physseg.engine.weights.IncompatibleWeightsError: the weights do not fit the model.
        """
        with folder_lock(self.cfg.OUTPUT_DIR):
            self._resume_or_load(resume)

    def _resume_or_load(self, resume: bool) -> None:
        has_checkpoint = comm.all_gather(resume and self.checkpointer.has_checkpoint())[0]
        if not has_checkpoint:
            if resume:
                self._say_that_nothing_is_resumed()
            if self.cfg.MODEL.WEIGHTS:
                load_weights(self.model, self.cfg.MODEL.WEIGHTS)
                if self.ema is not None:
                    self.ema.reset(self._own_model)
            if comm.is_main_process():
                remove_partial_files(self.cfg.OUTPUT_DIR)
                clear_the_way(self.cfg.OUTPUT_DIR)
            return
        extra = self.checkpointer.load_newest()
        self.start_iter = self.iter = int(extra["iteration"]) + 1
        self._random_states = extra["random_states"]
        self._loader_state = extra.get("loader", {})
        if len(self._random_states) != comm.get_world_size():
            logger.warning(
                "The checkpoint is of %d processes, this run has %d: random numbers drawn inside the model differ.",
                len(self._random_states),
                comm.get_world_size(),
            )
        self.best = self._read_best()
        if comm.is_main_process():
            remove_partial_files(self.cfg.OUTPUT_DIR)

    def _say_that_nothing_is_resumed(self) -> None:
        folder = self.cfg.OUTPUT_DIR
        unnamed = self.checkpointer.unnamed_checkpoint()
        if unnamed:
            logger.warning(
                "--resume: %s holds %s, but no file last_checkpoint that names the one to resume from: training starts "
                "from the beginning. To go on from it instead, write its name into %s/last_checkpoint.",
                *(folder, unnamed, folder),
            )
        else:
            logger.warning("--resume: no checkpoint in %s: training starts from the beginning.", folder)

    def train(self) -> dict | None:
        """Train from ``start_iter`` to SOLVER.MAX_ITER, then evaluate on DATASETS.TEST.

        Returns:
            The evaluation's results in the main process, if there were any.

        Raises:
            physseg.folder_lock.FolderInUseError: another training runs in OUTPUT_DIR.
            TrainingInterrupted: a signal asked for a stop; a checkpoint is saved.
            NonFiniteLossError: a loss became NaN or infinite; the checkpoints saved so far stay.
            OSError: a checkpoint could not be written.
        """
        if self.start_iter < self.max_iter:
            self._trainer.start(self._loader())
        # Later than everything that may draw random numbers on the way to the first iteration.
        if comm.get_rank() < len(self._random_states):
            restore_random_state(self._random_states[comm.get_rank()])
        with folder_lock(self.cfg.OUTPUT_DIR):
            super().train()
        return getattr(self, "_last_eval_results", None)

    def _loader(self) -> Iterable:
        """Batches from ``start_iter`` on."""
        loader = self.build_train_loader(self.cfg, self.start_iter)
        if self.start_iter and hasattr(loader, "load_state_dict"):
            if not self._loader_state:
                raise ValueError(
                    f"{self.cfg.OUTPUT_DIR}: the checkpoint does not say how far its data was read; it was trained on "
                    "other data. Start with MODEL.WEIGHTS instead of --resume."
                )
            loader.load_state_dict(self._loader_state)
        return loader

    def build_hooks(self) -> list[HookBase | None]:
        """Hooks in the order they run in after each iteration."""
        cfg = self.cfg
        checkpointing = Checkpointing(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD)
        return [
            StopOnSignal(),
            d2_hooks.IterationTimer(),
            Throughput(cfg.SOLVER.IMS_PER_BATCH),
            LRScheduler(),
            # Before evaluation: if that fails, training need not be repeated.
            checkpointing,
            EvalHook(cfg.TEST.EVAL_PERIOD, self._evaluate, checkpointing.save_and_stop) if cfg.DATASETS.TEST else None,
            # With one evaluation at the end, the best is the final one.
            BestCheckpoint(self.checkpointer, cfg.TEST.BEST_METRIC)
            if cfg.DATASETS.TEST and cfg.TEST.EVAL_PERIOD > 0
            else None,
            StructurePictures.from_config(cfg) if cfg.MODEL.STRUCTURE.ENABLED else None,
            d2_hooks.PeriodicWriter(self.build_writers(), cfg.ENGINE.LOG_PERIOD) if comm.is_main_process() else None,
        ]

    def build_writers(self) -> list[EventWriter]:
        """Writers of the main process; built when training starts, since only then the first iteration is known."""
        return [_LateWriters(lambda: build_writers(self.cfg, self.max_iter, self.start_iter))]

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """AdamW with the recipe's groups."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode, start_iteration: int = 0):
        """Batches from ``start_iteration`` on."""
        from physseg.data.loaders import build_train_loader

        return build_train_loader(cfg, start_iteration)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators=None) -> dict[str, dict]:
        """Evaluate on every data set of DATASETS.TEST.

        Args:
            cfg: the config.
            model: with the weights to evaluate.
            evaluators: one per data set; default: those of `physseg.evaluation`.

        Returns:
            Data set name -> ``{"sem_seg": metrics}``, in the main process; elsewhere empty dicts per data set.
        """
        from physseg.data.loaders import build_test_loader
        from physseg.evaluation import build_evaluator, evaluate_dataset
        from physseg.evaluation.extra_metrics import extra_metrics
        from physseg.evaluation.runner import training_classes

        check_registered(cfg.DATASETS.TEST, "DATASETS.TEST")
        results = {}
        for index, name in enumerate(cfg.DATASETS.TEST):
            evaluator = evaluators[index] if evaluators is not None else build_evaluator(cfg, name)
            evaluator.reset()
            results[name] = evaluate_dataset(_unwrapped(model), build_test_loader(cfg, name), evaluator)
            found = extra_metrics(
                _unwrapped(model), cfg, name, training_classes(cfg), partial(build_test_loader, cfg, name)
            )
            if comm.is_main_process():
                results[name]["sem_seg"].update(found)
                logger.info("%s: mIoU %.2f", name, results[name]["sem_seg"]["mIoU"])
        return results

    @property
    def _own_model(self) -> nn.Module:
        return _unwrapped(self.model)

    def _evaluate(self) -> dict[str, dict | float]:
        """Evaluate with the averaged weights where there are any; nothing of training changes."""
        averaged = self.ema.applied(self._own_model) if self.ema is not None else contextlib.nullcontext()
        with preserved_random_state(), averaged, _eval_mode(self.model):
            self._last_eval_results = self.test(self.cfg, self.model)
        if not comm.is_main_process():
            return {}
        # Hundreds of classes would drown the curves; the evaluation tool's report has them.
        logged: dict[str, dict | float] = {
            name: {key: value for key, value in result.get("sem_seg", {}).items() if not key.startswith("IoU-")}
            for name, result in self._last_eval_results.items()
        }
        # A metric of one data set is only repeated.
        names = ("mean_mIoU", self.cfg.TEST.BEST_METRIC)
        return logged | {name: metric_value(self._last_eval_results, name) for name in names}

    def _read_best(self) -> dict | None:
        """What is known of model_best.pth; a best that is yet to come again, or by another metric, counts as none."""
        best = read_best(self.cfg.OUTPUT_DIR) if comm.is_main_process() else None
        best = comm.all_gather(best)[0]
        if not best or best["iteration"] >= self.start_iter:
            return None
        metric = self.cfg.TEST.BEST_METRIC
        if best.get("metric") != metric:
            logger.warning(
                "model_best.pth is the best by %s, TEST.BEST_METRIC is now %s: the two do not compare, so the next "
                "evaluation replaces it.",
                best.get("metric", "an unknown metric"),
                metric,
            )
            return None
        return best


class _LateWriters(EventWriter):
    """Writers made at the first write."""

    def __init__(self, build) -> None:
        self._build = build
        self._writers: list[EventWriter] | None = None

    def write(self) -> None:
        if self._writers is None:
            self._writers = self._build()
        for writer in self._writers:
            writer.write()

    def close(self) -> None:
        for writer in self._writers or []:
            writer.close()
        self._build = None


def check_test_data(cfg: CfgNode) -> None:
    """Check that DATASETS.TEST can be evaluated: not after the training, when it is due, but before.

    Raises:
        ValueError: a name is not registered.
        FileNotFoundError, physseg.data.checking.NotPreparedError: a data set is missing or half prepared.
    """
    register_custom(cfg)
    check_registered(cfg.DATASETS.TEST, "DATASETS.TEST")
    for name in cfg.DATASETS.TEST:
        try:
            require_prepared(name, allow_partial=cfg.DATASETS.ALLOW_PARTIAL)
        except NotPreparedError as error:
            raise NotPreparedError(f"{error}, or leave it out of DATASETS.TEST") from None


def _distributed(model: nn.Module) -> nn.Module:
    """DistributedDataParallel around the model if there are several processes."""
    if comm.get_world_size() == 1:
        return model
    on_gpu = next(model.parameters()).is_cuda
    return create_ddp_model(
        model, broadcast_buffers=False, device_ids=[torch.cuda.current_device()] if on_gpu else None
    )


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, DistributedDataParallel) else model


@contextlib.contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
