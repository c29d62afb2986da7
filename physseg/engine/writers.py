"""Where training's numbers go: console, metrics.json, TensorBoard and, if asked for, Weights & Biases."""

import contextlib
import datetime
import json
import logging
import os
from pathlib import Path

from detectron2.utils.events import EventStorage, EventWriter, JSONWriter, TensorboardXWriter, get_event_storage

from physseg.io import write_text_atomic

logger = logging.getLogger(__name__)


class ConsoleWriter(EventWriter):
    """One line: ETA, iteration, losses, gradient norm, learning rates, speed, data time, memory.

    Args:
        max_iter: iterations of the whole training.
        window: losses and times are medians over this many iterations.
    """

    def __init__(self, max_iter: int, window: int = 20) -> None:
        self._max_iter = max_iter
        self._window = window
        self._last = -1

    def write(self) -> None:
        storage = get_event_storage()
        if storage.iter >= self._max_iter or storage.iter == self._last:
            return
        self._last = storage.iter
        logger.info("%s", self.line(storage))

    def line(self, storage: EventStorage) -> str:
        """The line for the storage's present iteration."""
        histories = storage.histories()

        def median(name: str, form: str) -> str:
            return f"{name}: {format(histories[name].median(self._window), form)}" if name in histories else ""

        parts = [f"iter: {storage.iter + 1}/{self._max_iter}"]
        if "time" in histories:
            left = histories["time"].median(1000) * (self._max_iter - storage.iter - 1)
            storage.put_scalar("eta_seconds", left, smoothing_hint=False)
            parts.insert(0, f"eta: {datetime.timedelta(seconds=int(left))}")
        parts += [median(name, ".4g") for name in histories if "loss" in name]
        parts += [median("grad_norm", ".4g")]
        parts += [f"{name}: {histories[name].latest():.3g}" for name in ("lr", "lr_clip") if name in histories]
        parts += [median("images_per_second", ".1f"), median("time", ".3f"), median("data_time", ".3f")]
        if "max_memory_mb" in histories:
            parts.append(f"max_mem: {histories['max_memory_mb'].latest():.0f}M")
        return "  ".join(part for part in parts if part)


class WandbWriter(EventWriter):
    """Logs all scalars to Weights & Biases.

    Args:
        project: name of the project.
        folder: OUTPUT_DIR; its name is the run's name, and a resumed run goes on under the same id.
        config: the config as text.

    Raises:
        ImportError: wandb is not installed.
    """

    def __init__(self, project: str, folder: str, config: str) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ImportError(
                "ENGINE.WANDB.ENABLED is True, but Weights & Biases is not installed: pip install wandb"
            ) from error
        name = Path(folder).resolve().name
        id_file = Path(folder) / "wandb_id"
        if not id_file.is_file():
            write_text_atomic(id_file, wandb.util.generate_id())
        self._run = wandb.init(
            project=project, name=name, id=id_file.read_text(), dir=folder, resume="allow", config={"yaml": config}
        )
        self._last = -1

    def write(self) -> None:
        storage = get_event_storage()
        values = {name: value for name, (value, at) in storage.latest_with_smoothing_hint().items() if at > self._last}
        self._last = storage.iter
        if values:
            self._run.log(values, step=storage.iter)

    def close(self) -> None:
        self._run.finish()


def build_writers(cfg, max_iter: int, start_iter: int) -> list[EventWriter]:
    """Console, metrics.json, TensorBoard, and Weights & Biases by key.

    metrics.json keeps what was logged before ``start_iter``; later lines are of iterations that run again.
    """
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    forget_after(folder / "metrics.json", start_iter)
    writers = [ConsoleWriter(max_iter), JSONWriter(str(folder / "metrics.json"))]
    try:
        writers.append(TensorboardXWriter(str(folder)))
    except ImportError:
        logger.warning("TensorBoard is not installed (pip install tensorboard): no event files are written.")
    if cfg.ENGINE.WANDB.ENABLED:
        writers.append(WandbWriter(cfg.ENGINE.WANDB.PROJECT, str(folder), cfg.dump()))
    return writers


def read_metrics(path: str | os.PathLike) -> list[dict]:
    """Lines of a metrics.json, in order; a line cut short by a kill, or of another kind, is left out."""
    lines = []
    with contextlib.suppress(FileNotFoundError):
        for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError, RecursionError):
                lines.append(json.loads(line))
    return [line for line in lines if isinstance(line, dict) and type(line.get("iteration")) is int]


def forget_after(path: str | os.PathLike, start_iter: int) -> None:
    """Remove a metrics.json's lines from ``start_iter`` on, and half lines; does nothing without a file."""
    if not Path(path).is_file():
        return
    kept = [line for line in read_metrics(path) if line["iteration"] < start_iter]
    write_text_atomic(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in kept))
