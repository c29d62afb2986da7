"""Wrong input of every kind to every option of every program: one message and a status, or what else?

    export DETECTRON2_DATASETS=/tmp/toy
    python tools/make_toy_world.py && python datasets/prepare_coco_stuff.py --toy
    python datasets/prepare_ade20k_150.py --toy && python datasets/prepare_voc.py --toy
    python benchmarks/wrong_input.py [--fresh 25] [--only predict] --output wrong_input.jsonl

The options come from the programs' own parsers, so that none is forgotten; what a value means follows from its type or
its name. Each case is a command line that works, with one thing wrong, in a process of its own. Most processes are
forked from this one, which has imported everything; every N-th one is a new interpreter (``--fresh N``).

Seen as right: status 1 or 2, the last line of standard error begins with "error:" or "failed:", no traceback. A value
that is accepted (status 0) is listed: some are harmless, none should be wrong. As root, files without permissions, a
full disk and a read-only one are tried too.
"""

import argparse
import contextlib
import ctypes
import importlib
import json
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from physseg.cli import PROGRAMS  # noqa: E402
from physseg.cli.arguments import some_path  # noqa: E402
from physseg.cli.boundary import run_program  # noqa: E402
from tests import processes_left  # noqa: E402
from tests.small_model import CONFIG, OPTS, save_weights  # noqa: E402

LIMIT_SECONDS = 20.0
SMALL = [*map(str, OPTS)]
TRAINING = ["SOLVER.MAX_ITER", "1", "DATALOADER.NUM_WORKERS", "0", "DATASETS.TEST", "()", *SMALL]
# Program -> a command line that works in the folder that `make_place` makes.
RIGHT = {
    "train": ["--config-file", "toy", "OUTPUT_DIR", "o", *TRAINING],
    "evaluate": [
        *("--config-file", "toy", "--weights", "w.pth", "--results", "o", "--benchmarks", "toy_pas20"),
        *("DATALOADER.NUM_WORKERS", "0", *SMALL),
    ],
    "predict": [
        *("p.png", "--config-file", "toy", "--weights", "w.pth", "--vocabulary", "cat, dog", "--output", "o"),
        *("--opts", *SMALL),
    ],
    "serve": ["--model", "toy", "--port", "0"],
    "models": [],
    "sweep": ["sweep.yaml", "--output", "o", "--dry-run"],
    "convert": ["w.pth", "o.pth"],
    "lighten": ["w.pth", "o.safetensors", "--config-file", "toy"],
    "export": [
        *("--config-file", "toy", "--weights", "w.pth", "--vocabulary", "cat, dog", "--output", "o.onnx"),
        *("--opts", *SMALL),
    ],
    "prepare": ["pas20", "--toy"],
    "check_data": ["toy_pas20", "--quick"],
    "structure_labels": [
        *("--config-file", "toy", "--dataset", "toy_voc_20_val_sem_seg", "--sources", "canny", "--output", "o"),
        *("--workers", "1", "--opts", *SMALL),
    ],
    "visualize": ["p.png", "--config-file", "toy", "--output", "o", "--labels", "l.png", "--opts", *SMALL],
    "similarity": ["--config-file", "toy", "--benchmarks", "toy_pas20", "--output", "o.json", *SMALL],
    "oracle": [
        *("--config-file", "toy", "--benchmark", "toy_pas20", "--output", "o.json", "DATALOADER.NUM_WORKERS", "0"),
        *SMALL,
    ],
    "toy_scene": ["o.png"],
    "loss_gradients": ["--config-file", "toy", "--batches", "1", "--output", "o.json", *TRAINING],
    "toy_world": ["--root", "o"],
    "pretrain_toy_clip": [
        *("--output-dir", "o", "--steps", "1", "--pool-crops", "8", "--pool-pictures", "8", "--crop-batch", "2"),
        *("--picture-batch", "2", "--eval-count", "2", "--final-count", "2"),
    ],
    "demo": ["--output", "o", *TRAINING],
}
READ = {
    *("config_file", "weights", "compare_weights", "metrics_file", "vocabulary_file", "inputs", "input", "source"),
    *("sweep", "labels", "start", "training"),
}
WRITE = {"results", "output", "target", "output_dir", "root", "confirm"}
NAMES = {"benchmarks", "benchmark", "dataset", "datasets", "model", "models", "clip", "names", "families"}
NUMBERS = {"num_gpus", "num_machines", "machine_rank", "port", "max_upload", "max_words", "batches", "height", "seed"}
DEVICES = {"device"}

VALUES = {
    "file to read": ["gone", "folder", "pipe", "empty", "binary", "text", "list.json", "loop", "below a file", ""],
    "file without permission": ["secret"],
    "path to write": ["", "file/below", "loop/below", "x" * 300, "/proc/nothing/here", "/dev/full/x"],
    "full disk": ["full/o"],
    "read-only disk": ["frozen/o"],
    "folder without permission": ["closed/o"],
    "number": ["-1", "-3.5", "nan", "inf", "1e400", "one", "", "0x10", "1,5", "9" * 30],
    "name": ["nowhere", "a151", "", "a,b", "=", "é\n"],
    "device": ["gpu0", "CUDA", "cuda:999", "", "tpu", "cpu:7"],
    "choice": ["nothing", ""],
    "text": ["", " ", ",;,", "\n", "x" * 100_000],
    "override": ["SOLVER.BASE_RL=1", "SEED=x", "MODEL=1", "OUTPUT_DIR=file", "VERSION=9", "=1", "MODEL.CLIP.NAME=x"],
    "odd word": ["--nothing", "-", "--", "extra"],
    "JSON or YAML of another shape": [
        *("list.json", "text.json", "nested.json", "numbers.json", "null.json", "lines.json", "tags.yaml", "deep.yaml"),
    ],
    "data set of one's own": [
        *('["gone.yaml"]', '["list.json"]', "[3]", "[{}]", "['custom.yaml', 'custom.yaml']"),
        *("[{'name': 1, 'images': 2, 'labels': 3, 'classes': 4}]", "[{'name': 'a', 'images': [], 'labels': {}}]"),
        "[{'name': 'a', 'images': 'i', 'labels': 'l', 'classes': {'a': 1}}]",
        "[{'name': ['a'], 'images': 'i', 'labels': 'l', 'classes': ['a']}]",
        "[{'name': 'a', 'images': ['i'], 'labels': 'l', 'classes': ['a', 3]}]",
        "[{'name': 'a', 'images': 'i', 'labels': 'l', 'classes': ['a', ['b']]}]",
        "[{'name': 'a', 'images': 'i', 'labels': 'l', 'classes': ['a'], 'ignore_label': -1}]",
        "[{'name': 'a', 'images': 'i', 'labels': 'l', 'classes': ['a'], 'ignore_label': 1.5}]",
        "[{'name': 'a', 'images': 'i', 'labels': 'l', 'classes': ['a'], 'vocabulary': 7}]",
    ],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(PROGRAMS), metavar="PROGRAM")
    parser.add_argument("--fresh", type=int, default=0, metavar="N", help="every N-th case in a new interpreter")
    parser.add_argument("--right", action="store_true", help="only try the command lines that work")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="a line of JSON for each case")
    args = parser.parse_args()
    processes_left.adopt_orphans()
    processes_left.kill_descendants_on_sigterm()
    for name in PROGRAMS:
        importlib.import_module(f"physseg.cli.{name}")
    seen = []
    with tempfile.TemporaryDirectory() as folder, place(Path(folder)) as kinds:
        for program in args.only:
            cases = [("right", RIGHT[program])] if args.right else wrong_lines(program, kinds)
            for number, (kind, words) in enumerate(cases):
                fresh = bool(args.fresh) and number % args.fresh == args.fresh - 1
                case = {"program": program, "kind": kind, "words": words, "fresh": fresh} | run(program, words, fresh)
                seen.append(case)
                with open(args.output, "a") as file:
                    file.write(json.dumps(case) + "\n")
                if case["verdict"] != "refused":
                    print(
                        f"{case['verdict']}: {program} ({kind}) {changed(program, words)!r}: {case['last']!r}",
                        flush=True,
                    )
    print(table(seen))


def wrong_lines(program: str, kinds: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Kind and command line of every case of a program."""
    right = RIGHT[program]
    for action in importlib.import_module(f"physseg.cli.{program}").parser()._actions:
        if action.dest in ("help", "traceback", "opts") or action.nargs == 0:
            continue
        for kind in kinds_of(action) & kinds:
            for value in VALUES[kind]:
                yield kind, replaced(right, action, value)
    if any(action.dest == "opts" for action in importlib.import_module(f"physseg.cli.{program}").parser()._actions):
        for pair in VALUES["override"]:
            yield "override", [*right, *pair.split("=", 1)]
        yield "override", [*right, "SEED"]
        for value in VALUES["device"]:
            yield "device", [*right, "MODEL.DEVICE", value]
        for value in VALUES["data set of one's own"]:
            yield "data set of one's own", [*right, "DATASETS.CUSTOM", value]
    for word in VALUES["odd word"]:
        yield "odd word", [word, *right]
    yield "nothing at all", []


def kinds_of(action: argparse.Action) -> set[str]:
    """What may be wrong with a value of an option."""
    if action.choices:
        return {"choice"}
    if action.dest in DEVICES:
        return {"device"}
    if action.dest in WRITE:
        return {"path to write", "full disk", "read-only disk", "folder without permission"}
    if action.dest in READ or action.type in (some_path, Path):
        return {"file to read", "file without permission", "JSON or YAML of another shape"}
    if action.dest in NAMES:
        return {"name"}
    if action.dest in NUMBERS or action.type is not None:
        return {"number"}
    return {"text"}


def replaced(right: list[str], action: argparse.Action, value: str) -> list[str]:
    """The command line with another value of one option."""
    words = list(right)
    if not action.option_strings:
        position = {"target": 1}.get(action.dest, 0) if len(words) > 1 and "." in words[1] else 0
        words[position] = value
        return words
    if action.option_strings[0] in words:
        words[words.index(action.option_strings[0]) + 1] = value
        return words
    # After the positional words and before the overrides.
    first = next(
        (i for i, word in enumerate(words) if word.startswith("--") or ("." in word[:12] and word.isupper())), 0
    )
    values = [value] * action.nargs if isinstance(action.nargs, int) else [value]
    return [*words[:first], action.option_strings[0], *values, *words[first:]]


def changed(program: str, words: list[str]) -> list[str]:
    """The words that the right command line does not have, with the option before each."""
    left = Counter(words) - Counter(RIGHT[program])
    return [" ".join(words[max(0, i - 1) : i + 1])[:120] for i, word in enumerate(words) if left[word]]


def run(program: str, words: list[str], fresh: bool, seconds: float = LIMIT_SECONDS) -> dict:
    """Run one case; what was seen within so many seconds."""
    before = {path.name for path in Path().iterdir()}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begin = time.monotonic()
        if fresh:
            line = [sys.executable, "-m", "physseg", program.replace("_", "-"), *words]
            process = subprocess.Popen(line, stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True)
        else:
            process = multiprocessing.get_context("fork").Process(target=_forked, args=(program, words, out, err))
            process.start()
        while (status := process.poll() if fresh else process.exitcode) is None and time.monotonic() < begin + seconds:
            time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait() if fresh else process.join()
        processes_left.kill(processes_left.descendants())
        out.seek(0)
        err.seek(0)
        output, errors = (stream.read().decode(errors="replace") for stream in (out, err))
    for path in Path().iterdir():
        if path.name not in before:
            subprocess.run(["rm", "-rf", str(path)], check=True)
    lines = [line for line in errors.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    seen = verdict(status, output + errors, last)
    return {"status": status, "verdict": seen, "last": last[:300], "text": errors[-4000:] if seen.isupper() else ""}


def verdict(status: int | None, text: str, last: str) -> str:
    if status is None:
        return "still running"
    if "this is a bug in physseg" in text:
        return "BUG"
    if "Traceback" in text:
        return "TRACEBACK"
    if status == 0:
        return "accepted"
    said = "error: " in last or last.startswith("failed: ")
    return (
        "refused" if status in (1, 2) and said else f"status {status}, no message" if not said else f"status {status}"
    )


def _forked(program: str, words: list[str], out, err) -> None:
    os.setsid()
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        drop_override()
    status = run_program(program, words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def drop_override() -> None:
    """Let the permissions of files hold for root too, in this process (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # <linux/capability.h>, version 3, this process
    data = (ctypes.c_uint32 * 6)()
    if libc.capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


@contextlib.contextmanager
def place(folder: Path) -> Iterator[set[str]]:
    """Go to a folder with one thing of every kind; yields the kinds that this machine allows."""
    os.chdir(folder)
    save_weights(Path("w.pth"))
    Image.new("RGB", (64, 48), (90, 120, 30)).save("p.png")
    Image.new("L", (64, 48)).save("l.png")
    for name in ("images", "maps", "folder", "full", "frozen", "closed"):
        Path(name).mkdir()
    Image.new("RGB", (64, 48), (90, 120, 30)).save("images/a.png")
    Image.new("L", (64, 48)).save("maps/a.png")
    Path("custom.yaml").write_text("{name: one, images: images, labels: maps, classes: [thing]}")
    sweep = {
        "base": str(CONFIG),
        "output": "o",
        "title": "t",
        "runs": [{"name": "a", "set": {"SOLVER.MAX_ITER": 1}}],
        "seeds": [0],
    }
    Path("sweep.yaml").write_text(json.dumps(sweep))
    os.mkfifo("pipe")
    Path("empty").write_text("")
    Path("file").write_text("text")
    Path("text").write_text("a line\nand another: [\n")
    Path("binary").write_bytes(random.Random(0).randbytes(500))
    Path("loop").symlink_to("loop")
    Path("secret").write_text("{}")
    shapes = {"list": [1, [2]], "text": "words", "nested": {"a": {"b": [{}]}}, "numbers": {"1": 2}, "null": None}
    for name, value in shapes.items():
        Path(f"{name}.json").write_text(json.dumps(value))
    Path("lines.json").write_text(
        '{"iteration": "x", "total_loss": "y"}\n[1]\n3\n{"iteration": 1}\n{"total_loss": NaN}\n'
    )
    Path("tags.yaml").write_text("!!python/object/apply:os.system ['true']\n")
    Path("deep.yaml").write_text("[" * 5000)
    kinds = set(VALUES)
    mounted = []
    try:
        if os.geteuid() == 0:
            os.chmod("secret", 0)
            os.chmod("closed", 0o500)
            for name, options in (("full", "size=32k"), ("frozen", "ro")):
                if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", name], check=False).returncode == 0:
                    mounted.append(name)
        else:
            os.chmod("secret", 0)
            os.chmod("closed", 0o500)
        kinds -= {"full disk"} - ({"full disk"} if "full" in mounted else set())
        kinds -= {"read-only disk"} - ({"read-only disk"} if "frozen" in mounted else set())
        if "full" in mounted:
            with contextlib.suppress(OSError):
                Path("full/filler").write_bytes(bytes(10**6))
        yield kinds
    finally:
        for name in mounted:
            subprocess.run(["umount", str(folder / name)], check=False)
        os.chdir(ROOT)


def table(cases: list[dict]) -> str:
    """Counts by kind and verdict."""
    verdicts = sorted({case["verdict"] for case in cases})
    rows = [f"| kind | {' | '.join(verdicts)} | all |", "|---" * (len(verdicts) + 2) + "|"]
    for kind in [*dict.fromkeys(case["kind"] for case in cases), "all"]:
        counts = Counter(case["verdict"] for case in cases if kind in (case["kind"], "all"))
        rows.append(f"| {kind} | {' | '.join(str(counts[v]) for v in verdicts)} | {sum(counts.values())} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
