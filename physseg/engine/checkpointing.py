"""Checkpoints of training that a crash cannot spoil.

A checkpoint is written to a temporary file, forced to disk and renamed; only then does ``last_checkpoint`` name it.
Whatever happens in between, the checkpoint before is intact and is the one named.
"""

import contextlib
import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.utils import comm
from torch import nn

from physseg.engine.weights import load_weights, read_checkpoint
from physseg.io import atomic_write, write_json_atomic, write_text_atomic

logger = logging.getLogger(__name__)

_LAST = "last_checkpoint"
_PERIODIC = re.compile(r"model_(\d{7})\.pth")
_FINAL = "model_final.pth"
BEST = "model_best.pth"
_BEST_RECORD = "best.json"
# What resuming needs besides model and checkpointables.
_EXTRAS = ("iteration", "random_states")


class CheckpointWriteError(OSError):
    """A checkpoint could not be written; the ones before are intact."""


class TrainingCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes, safe loading, fallback to the checkpoint before, and retention.

    Args:
        model: also wrapped in DistributedDataParallel.
        save_dir: OUTPUT_DIR.
        keep: newest periodic checkpoints to keep; "model_final.pth" and "model_best.pth" are kept besides.
        checkpointables: objects with ``state_dict`` and ``load_state_dict``, saved under their names.
    """

    def __init__(self, model: nn.Module, save_dir: str = "", *, keep: int = 2, **checkpointables: Any) -> None:
        super().__init__(model, save_dir, **checkpointables)
        self.keep = keep

    def save(self, name: str, **extra: Any) -> None:
        """Write ``<save_dir>/<name>.pth`` with model, checkpointables and ``extra`` (main process only).

        Every checkpoint but the best one becomes the one that resuming uses.

        Raises:
            CheckpointWriteError: the disk is full or not writable.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data.update({key: value.state_dict() for key, value in self.checkpointables.items()})
        data.update(extra)
        path = Path(self.save_dir) / f"{name}.pth"
        logger.info("Saving checkpoint to %s", path)
        try:
            with atomic_write(path) as temporary, open(temporary, "wb") as file:
                torch.save(data, file)
                file.flush()
                os.fsync(file.fileno())
            _sync_folder(path.parent)
            if path.name != BEST:
                self.tag_last_checkpoint(path.name)
        except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into a RuntimeError
            last = self._last_name()
            kept = f"The checkpoint before, {last}, is intact; resume with --resume." if last else "There is none yet."
            raise CheckpointWriteError(
                f"Cannot write checkpoint {path}: {str(error).splitlines()[0]}. Is the disk full? {kept}"
            ) from error
        self._remove_old()

    def save_best(self, metric: str, value: float, iteration: int, **extra: Any) -> None:
        """Write ``model_best.pth`` and then ``best.json``: metric, its value, iteration (main process only)."""
        self.save(BEST.removesuffix(".pth"), iteration=iteration, **extra)
        if self.save_dir and self.save_to_disk:
            record = {"metric": metric, "value": value, "iteration": iteration}
            write_json_atomic(Path(self.save_dir) / _BEST_RECORD, record)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Make ``last_checkpoint`` name a file, atomically."""
        write_text_atomic(Path(self.save_dir) / _LAST, last_filename_basename)
        _sync_folder(Path(self.save_dir))

    def get_checkpoint_file(self) -> str:
        """Path of the newest checkpoint; empty if there is none."""
        candidates = self._candidates()
        return str(candidates[0]) if candidates else ""

    def has_checkpoint(self) -> bool:
        """Whether there is something to resume from."""
        return bool(self._candidates())

    def unnamed_checkpoint(self) -> str:
        """Name of the newest checkpoint where no ``last_checkpoint`` names the one to resume from; else empty."""
        if not self.save_dir or self._last_name():
            return ""
        return max((p.name for p in Path(self.save_dir).glob("model_*.pth") if _PERIODIC.fullmatch(p.name)), default="")

    def load_newest(self) -> dict[str, Any]:
        """Load the newest checkpoint that can be read, model and checkpointables, and return the rest.

        All processes load the file that the main process could read. Half-written files are passed over with a
        warning.

        Raises:
            FileNotFoundError: none can be read.
            ValueError: it is no checkpoint of this training: a part is missing, or fits another config.
        """
        path, checkpoint = "", {}
        if comm.is_main_process():
            for candidate in self._candidates():
                try:
                    path, checkpoint = str(candidate), read_checkpoint(candidate)
                    break
                except (ValueError, FileNotFoundError) as error:
                    logger.warning("%s The checkpoint before it is used instead.", error)
        path = comm.all_gather(path)[0]
        if not path:
            raise FileNotFoundError(
                f"None of the checkpoints in {self.save_dir} can be read; start again without --resume."
            )
        logger.info("Resuming from %s", path)
        return self._load_all(checkpoint or read_checkpoint(path), path, _EXTRAS)

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Load a file: all of it, or with ``checkpointables=[]`` the weights alone. An empty path loads nothing."""
        if not path:
            return {}
        if checkpointables == []:
            load_weights(self.model, path)
            return {}
        return self._load_all(read_checkpoint(path), path)

    def _load_all(self, checkpoint: dict[str, Any], path: str, required: Sequence[str] = ()) -> dict[str, Any]:
        for key in (*self.checkpointables, *required):
            if key not in checkpoint:
                raise ValueError(
                    f"{path} holds no {key}: it is no checkpoint of this training. Start with MODEL.WEIGHTS."
                )
        load_weights(self.model, {"model": checkpoint.pop("model")}, averaged=False, source=path)
        for key, value in self.checkpointables.items():
            try:
                value.load_state_dict(checkpoint.pop(key))
            except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
                # What torch says of an optimizer with other groups, or of something that is no optimizer's state.
                raise ValueError(
                    f"{path}: its {key} state does not fit this config ({error}). Resume with the settings that it was "
                    "trained with, or start with MODEL.WEIGHTS."
                ) from error
        return checkpoint

    def _last_name(self) -> str:
        """What ``last_checkpoint`` names: a file of the same folder, or nothing that could be one."""
        with contextlib.suppress(OSError):
            text = (Path(self.save_dir) / _LAST).read_text(errors="replace").strip()
            return text if text.endswith(".pth") and Path(text).name == text and len(text) < 200 else ""
        return ""

    def _candidates(self) -> list[Path]:
        """Checkpoints to resume from, the best first: the tagged one, then by iteration."""
        folder = Path(self.save_dir)
        if not self.save_dir or not self._last_name():
            return []
        periodic = sorted((p for p in folder.glob("model_*.pth") if _PERIODIC.fullmatch(p.name)), reverse=True)
        others = [folder / _FINAL, *periodic]
        tagged = folder / self._last_name()
        return [p for p in dict.fromkeys([tagged, *others]) if p.is_file() or p == tagged]

    def _remove_old(self) -> None:
        periodic = sorted(p for p in Path(self.save_dir).glob("model_*.pth") if _PERIODIC.fullmatch(p.name))
        for path in periodic[: -self.keep]:
            path.unlink(missing_ok=True)


def clear_the_way(folder: str | os.PathLike) -> None:
    """Move what an earlier training left in an output folder to ``previous-N`` in it, before a fresh start.

    Otherwise its checkpoints could be taken for the new run's, and its metrics for the new run's metrics.
    """
    folder = Path(folder)
    names = ("model_*.pth", "metrics.json", "events.out.tfevents.*", _LAST, _BEST_RECORD)
    files = [path for name in names for path in sorted(folder.glob(name))]
    if not files:
        return
    number = 1 + max((int(p.name.split("-")[1]) for p in folder.glob("previous-*") if p.name[9:].isdigit()), default=0)
    target = folder / f"previous-{number}"
    target.mkdir()
    for path in files:
        path.rename(target / path.name)
    logger.warning("%s holds an earlier training: moved to %s. (--resume continues it instead.)", folder, target)


def read_best(folder: str | os.PathLike) -> dict[str, Any] | None:
    """What ``best.json`` says of model_best.pth: metric, value, iteration. None if there is none.

    One that cannot be read counts as none, with a warning: the next evaluation writes it anew.
    """
    path = Path(folder) / _BEST_RECORD
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        iteration = int(record["iteration"])
        if "metric" not in record:  # of an earlier version, which knew one metric only
            return {"iteration": iteration}
        return {"metric": str(record["metric"]), "value": float(record["value"]), "iteration": iteration}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("%s does not say which checkpoint is the best (%s); it is written anew.", path, error)
        return None


def remove_partial_files(folder: str | os.PathLike) -> None:
    """Remove temporary files that a killed process left while writing a checkpoint."""
    for path in Path(folder).glob(".model_*.tmp.pth"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # A rename is on disk only once its folder is; not every file system can be asked.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
