"""One run of a sweep on disk: is it done, may it start, how far is it."""

import contextlib
import datetime
import fcntl
import json
import logging
import threading
from collections.abc import Iterator

from physseg.engine.writers import read_metrics
from physseg.io import write_json_atomic
from physseg.sweep.spec import Run

logger = logging.getLogger(__name__)

RESULTS = "results.json"
_RECORD = "run.json"


def read_results(run: Run, metric: str = "mIoU") -> dict[str, float] | None:
    """A metric by data set name if the run is done with the settings it has now and counted it, else None."""
    if _recorded(run) != _settings(run):
        return None
    # Whatever stands there in another shape is no result.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        results = json.loads((run.folder / RESULTS).read_text())
        return {name: float(result["sem_seg"][metric]) for name, result in results.items()}
    return None


def prepare(run: Run) -> str:
    """Make the run's folder ready; return a message if an earlier run with other settings was moved away."""
    message = ""
    if _recorded(run) not in (None, _settings(run)):
        number = 1
        while (target := run.folder.with_name(f"{run.folder.name}-other-settings-{number}")).exists():
            number += 1
        run.folder.rename(target)
        message = f"{run.name}: the sweep's settings have changed; the earlier run is now in {target}"
    write_json_atomic(run.folder / _RECORD, _settings(run))
    return message


@contextlib.contextmanager
def locked(run: Run, stopping: threading.Event) -> Iterator[int | None]:
    """Yield a file descriptor that holds the run's lock; wait for it while a live process has it.

    A child that inherits the descriptor keeps the lock when this process is killed: a restarted sweep then leaves the
    run to that child. Yields None if ``stopping`` is set while it waits.
    """
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    with open(run.folder.parent / f".{run.folder.name}.lock", "w") as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if not waiting:
                    logger.info("%s: another process trains in %s; waiting for it", run.name, run.folder)
                waiting = True
            if stopping.wait(0.2):
                yield None
                return
        yield file.fileno()


def progress(run: Run) -> str:
    """How far a run in progress is, such as "iteration 120, 0:03:10 left"."""
    lines = read_metrics(run.folder / "metrics.json")
    if not lines:
        return "starting"
    left = [line["eta_seconds"] for line in lines if "eta_seconds" in line][-1:]
    time_left = f", {datetime.timedelta(seconds=int(left[0]))} left" if left else ""
    return f"iteration {lines[-1].get('iteration', -1) + 1}{time_left}"


def _settings(run: Run) -> dict:
    return {"row": run.row.name, "seed": run.seed, "config_file": run.config_file.name, "opts": run.opts}


def _recorded(run: Run) -> dict | None:
    with contextlib.suppress(OSError, ValueError):
        return json.loads((run.folder / _RECORD).read_text())
    return None
