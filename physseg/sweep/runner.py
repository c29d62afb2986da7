"""Runs a sweep: N trainings at once, each a process of its own; failures stay where they are."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from physseg import signals
from physseg.sweep import run_folder
from physseg.sweep.slots import make_slots, visible_gpus
from physseg.sweep.spec import Run, Sweep

logger = logging.getLogger(__name__)

TRAIN_COMMAND = (sys.executable, "-m", "physseg", "train")
# Time a training has to write its checkpoint after a request to stop.
_GRACE_SECONDS = 600


class SweepRunner:
    """Runs what is not done yet.

    Args:
        sweep: the sweep.
        jobs: trainings at once.
        retries: further tries of a run that failed; each resumes from the last checkpoint.
        command: the training program; gets `Run.arguments`.
        report_seconds: between two lines of progress.

    Attributes:
        failed: run name -> why it failed.
    """

    def __init__(
        self,
        sweep: Sweep,
        jobs: int = 1,
        retries: int = 1,
        command: Sequence[str] = TRAIN_COMMAND,
        report_seconds: float = 60.0,
    ) -> None:
        self.sweep = sweep
        self.jobs = jobs
        self.retries = retries
        self.command = list(command)
        self.report_seconds = report_seconds
        self.failed: dict[str, str] = {}
        self._running: dict[str, tuple[Run, subprocess.Popen]] = {}
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._slots = make_slots(jobs, sweep.num_gpus, visible_gpus())

    def run(self) -> bool:
        """Run everything that is not done; return whether all is done now.

        Raises:
            KeyboardInterrupt: on Ctrl-C, after the running trainings have saved their state.
        """
        runs = self.sweep.runs
        todo = [run for run in runs if run_folder.read_results(run) is None]
        logger.info(
            "%s: %d runs, %d done already, %d at once", self.sweep.title, len(runs), len(runs) - len(todo), self.jobs
        )
        pool = ThreadPoolExecutor(self.jobs)
        futures = [pool.submit(self._run_with_retries, run) for run in todo]
        try:
            reported = time.monotonic()
            while not all(future.done() for future in futures):
                time.sleep(0.1)
                if time.monotonic() - reported >= self.report_seconds:
                    reported = time.monotonic()
                    self._report(runs)
            for future in futures:
                future.result()
        except KeyboardInterrupt as stop:
            self._stop(signals.exit_status(stop) - 128)
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return all(run_folder.read_results(run) is not None for run in runs)

    def _run_with_retries(self, run: Run) -> None:
        slot = self._slots.get()
        try:
            for attempt in range(self.retries + 1):
                if self._stopping.is_set():
                    return
                reason = self._run_once(run, slot)
                if not reason:
                    logger.info("%s: done", run.name)
                    return
                if self._stopping.is_set():
                    return
                logger.warning("%s: try %d of %d failed: %s", run.name, attempt + 1, self.retries + 1, reason)
            self.failed[run.name] = reason
        except Exception as error:  # a run that cannot even start must not take the others with it
            # The machine's matter (a full disk) is in the words; a bug is where it happened.
            logger.error("%s could not be run: %s", run.name, error, exc_info=not isinstance(error, OSError))
            self.failed[run.name] = str(error)
        finally:
            self._slots.put(slot)

    def _run_once(self, run: Run, slot: dict[str, str]) -> str:
        """Run a training to its end; return why it failed, or nothing."""
        with run_folder.locked(run, self._stopping) as lock:
            if lock is None:
                return "stopped while another process trained there"
            if run_folder.read_results(run) is not None:
                return ""  # that process has done it
            message = run_folder.prepare(run)
            if message:
                logger.warning("%s", message)
            log = run.folder / "stdout.txt"
            with open(log, "ab") as output:
                with self._starting:
                    if self._stopping.is_set():
                        return "stopped before it began"
                    # A session of its own: Ctrl-C goes to us, and we ask each training once to stop.
                    process = subprocess.Popen(
                        [*self.command, *run.arguments],
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        stdin=subprocess.DEVNULL,
                        env={**os.environ, **slot},
                        start_new_session=True,
                        pass_fds=(lock,),
                    )
                    self._running[run.name] = (run, process)
                try:
                    status = process.wait()
                finally:
                    del self._running[run.name]
        if status:
            return f"exit status {status}; last line: {_last_line(log)} (all of it: {log})"
        if run_folder.read_results(run) is None:
            return f"it ended well but left no {run_folder.RESULTS}; is DATASETS.TEST empty?"
        return ""

    def _stop(self, number: int) -> None:
        with self._starting:  # none is started that is not in the list
            self._stopping.set()
            running = list(self._running.values())
        logger.warning("Stopping: %d trainings save their state. Once more to kill them.", len(running))
        try:
            for _, process in running:
                if process.poll() is None:
                    process.send_signal(number)  # a training passes it on to its own processes
            for _, process in running:
                process.wait(_GRACE_SECONDS)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            for _, process in running:
                _kill_group(process)
        logger.warning("The same command goes on from here.")

    def _report(self, runs: Sequence[Run]) -> None:
        done = sum(run_folder.read_results(run) is not None for run in runs)
        states = [f"{run.name}: {run_folder.progress(run)}" for run, _ in list(self._running.values())]
        logger.info("%d of %d done, %d failed. %s", done, len(runs), len(self.failed), "; ".join(states))


def _kill_group(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][-300:] if lines else "(no output)"
