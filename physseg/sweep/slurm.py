"""Submitting a sweep's runs to SLURM through submitit."""

import logging
import subprocess
from collections.abc import Sequence
from pathlib import Path

from physseg.sweep import run_folder
from physseg.sweep.spec import Run, Sweep

logger = logging.getLogger(__name__)


def train(command: Sequence[str], run: Run) -> int:
    """Run one training on the node this is called on; return its exit status. SLURM may requeue it: it resumes."""
    return subprocess.run([*command, *run.arguments], check=False).returncode


def submit(sweep: Sweep, command: Sequence[str], wait: bool = True) -> bool:
    """Submit what is not done as one job per run and return whether all is done.

    Args:
        sweep: its ``slurm`` mapping goes to submitit, such as ``{slurm_partition: gpu, timeout_min: 2880}``; GPUs per
            node are the sweep's ``num_gpus`` unless it says otherwise.
        command: the training program.
        wait: for the jobs to end.

    Raises:
        ImportError: submitit is not installed.
    """
    try:
        import submitit
    except ImportError as error:
        raise ImportError("--slurm needs submitit: pip install 'physseg[slurm]'") from error
    executor = submitit.AutoExecutor(folder=Path(sweep.folder) / "slurm")
    executor.update_parameters(**{"gpus_per_node": sweep.num_gpus, **sweep.slurm})
    jobs = []
    for run in sweep.runs:
        if run_folder.read_results(run) is None:
            message = run_folder.prepare(run)
            if message:
                logger.warning("%s", message)
            jobs.append((run, executor.submit(train, list(command), run)))
            logger.info("%s: job %s", run.name, jobs[-1][1].job_id)
    for run, job in jobs if wait else []:
        status = job.result()
        if status:
            logger.error("%s: exit status %s; see %s", run.name, status, Path(sweep.folder) / "slurm")
    return all(run_folder.read_results(run) is not None for run in sweep.runs)
