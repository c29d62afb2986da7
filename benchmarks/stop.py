"""Ctrl-C and SIGTERM at random moments of a small training: does it stop, with which status, and what is left?

    python tools/make_toy_world.py && python datasets/prepare_coco_stuff.py --toy
    python datasets/prepare_ade20k_150.py --toy
    python benchmarks/stop.py --count 200 --output stop.jsonl

Each trial trains the toy config with data workers, checkpoints and evaluations, on one process or on two, and sends one
signal, to one process or to all. Most trials are forked from this process, which has imported everything; one of
``--fresh`` starts a new interpreter, as a shell does.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

import physseg_start
from physseg.engine import launch

ROOT = Path(__file__).resolve().parents[1]
# Moment -> what stands in the log when it has come, and the seconds from there within which the signal comes.
MOMENTS = {
    "start": ("", 1.0),
    "building the model": ("Rank of current process", 1.0),
    "first iteration": ("Starting training", 0.5),
    "training": ("iter: 2/", 1.0),
    "checkpoint": ("Saving checkpoint", 0.1),
    "evaluation": ("Saving checkpoint", 3.0),
    "final evaluation": ("model_final", 3.0),
}
LIMIT_SECONDS = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--fresh", type=int, default=8, metavar="N", help="every N-th trial in a new interpreter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="a line of JSON for each trial")
    args = parser.parse_args()
    launch._START_METHOD = "fork"
    rng = random.Random(args.seed)
    trials = []
    for number in range(args.count):
        processes = rng.choice((1, 2))
        trial = {
            "processes": processes,
            "moment": rng.choice(list(MOMENTS)),
            "signal": rng.choice(("SIGINT", "SIGTERM")),
            "to": rng.choice(("process", "group") if processes == 1 else ("launcher", "group", "rank")),
            "fresh": number % args.fresh == args.fresh - 1,
        }
        trials.append(trial | run(trial, rng))
        with open(args.output, "a") as file:
            file.write(json.dumps(trials[-1]) + "\n")
        print(number, trials[-1], flush=True)
    print(table(trials))


def run(trial: dict, rng: random.Random) -> dict:
    """One trial; what was seen."""
    with tempfile.TemporaryDirectory() as folder:
        output, log = Path(folder) / "output", Path(folder) / "log.txt"
        process = start(words(trial, output), log, trial["fresh"])
        mark, seconds = MOMENTS[trial["moment"]]
        while mark not in log.read_text(errors="replace") and not ended(process):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, seconds * (5 if trial["fresh"] and not mark else 1)))
        metrics = output / "metrics.json"
        trained = metrics.is_file() and bool(metrics.read_text())
        if ended(process):
            return {"result": "over before"}
        sent = time.monotonic()
        send(getattr(signal, trial["signal"]), trial["to"], process.pid, rng)
        while not ended(process) and time.monotonic() - sent < 3 * LIMIT_SECONDS:
            time.sleep(0.01)
        took = time.monotonic() - sent
        left = processes_left(process.pid)
        for each in left:
            each.kill()
        status = process.wait()
        text = log.read_text(errors="replace")
        faults = {
            "slow": took > LIMIT_SECONDS,
            "status": status not in (128 + getattr(signal, trial["signal"]), -getattr(signal, trial["signal"])),
            "processes left": bool(left),
            "no checkpoint": trained and not (output / "last_checkpoint").is_file(),
            "traceback": "Traceback" in text,
        }
        faults = [name for name, found in faults.items() if found]
        if faults:
            print(text[-3000:])
        return {"seconds": round(took, 2), "status": status, "trained": trained, "result": ", ".join(faults) or "good"}


def words(trial: dict, output: Path) -> list[str]:
    """The command line of a training of about half a minute."""
    iterations = 4 if trial["moment"] == "final evaluation" else 40
    opts = {
        "MODEL.DEVICE": "cpu",
        "OUTPUT_DIR": str(output),
        "SOLVER.MAX_ITER": iterations,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.CHECKPOINT_PERIOD": 5,
        "TEST.EVAL_PERIOD": 5,
        "DATASETS.TEST": "['toy_ade20k_150_val_sem_seg']",
        "DATALOADER.NUM_WORKERS": 1,
        "ENGINE.LOG_PERIOD": 1,
    }
    options = ["--config-file", str(ROOT / "configs" / "toy.yaml"), "--num-gpus", str(trial["processes"])]
    return options + [str(word) for item in opts.items() for word in item]


class Forked:
    """A forked trial, with `subprocess.Popen`'s few methods."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        os.setsid()
        with open(log, "a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.argv = ["train_net.py", *arguments]
        default_signals()
        os._exit(physseg_start.start("train"))

    def poll(self) -> int | None:
        return self.wait(os.WNOHANG)

    def wait(self, options: int = 0) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def start(arguments: list[str], log: Path, fresh: bool) -> "subprocess.Popen | Forked":
    """Start a training in a session of its own."""
    log.touch()
    if not fresh:
        return Forked(arguments, log)
    with open(log, "a") as file:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "tools" / "train_net.py"), *arguments],
            stdout=file, stderr=file, start_new_session=True, preexec_fn=default_signals,
        )  # fmt: skip


def default_signals() -> None:
    """As a shell's foreground job has them; a background job is started with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def ended(process: "subprocess.Popen | Forked") -> bool:
    return process.poll() is not None


def send(number: int, to: str, pid: int, rng: random.Random) -> None:
    if to == "group":
        os.killpg(pid, number)
        return
    ranks = [
        child.pid for child in psutil.Process(pid).children() if "resource_tracker" not in " ".join(child.cmdline())
    ]
    os.kill(rng.choice(ranks) if to == "rank" and ranks else pid, number)


def processes_left(session: int) -> list[psutil.Process]:
    """What still runs in a session some seconds after its first process has ended."""
    left = []
    for _ in range(30):
        left = [process for process in psutil.process_iter() if is_of(process, session)]
        if not left:
            break
        time.sleep(0.1)
    return left


def is_of(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def table(trials: list[dict]) -> str:
    """Results by moment, by signal, and by who got it."""
    lines = []
    for key in ("moment", "signal", "to", "processes", "fresh"):
        counts = Counter((str(trial[key]), trial["result"]) for trial in trials)
        lines += [f"{key}: {value}: {result}: {count}" for (value, result), count in sorted(counts.items())]
    seconds = sorted(trial["seconds"] for trial in trials if "seconds" in trial)
    return "\n".join([*lines, f"seconds: median {seconds[len(seconds) // 2]}, longest {seconds[-1]}"])


if __name__ == "__main__":
    main()
