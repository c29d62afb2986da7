"""Wrong input of every kind to every program: a status of 1 or 2, one message on the last line, no traceback.

Kinds, not examples: each program gets each kind of path, number and device wherever it takes one.
"""

import os
import random

import pytest
from PIL import Image

from physseg.cli.boundary import run_program
from tests.small_model import CONFIG

C = str(CONFIG)
SWEEP = str(CONFIG.parent / "sweeps" / "toy_table3.yaml")
PATHS = [
    "gone",
    "folder",
    "pipe",
    "binary",
    "latin",
    "loop",
    "dangling",
    "x" * 300,
    "file/below",
    "~nobodyx/f",
    "\udcff",
]
NUMBERS = ["nan", "inf", "-1", "1e400", "one", "", "0x10", "1,5"]
DEVICES = ["gpu0", "CUDA", "cpu:7", "", "cuda:x", "cuda:999", "tpu", "nn"]
NAMES = ["nowhere", "a151", "toy_a151", ""]

# One line per place that takes a path to read; PATH is replaced.
READ = [
    ("predict", "PATH", "--config-file", C, "--weights", "gone.pth", "--vocabulary", "cat;"),
    ("predict", "p.png", "--config-file", "PATH", "--weights", "gone.pth", "--vocabulary", "cat;"),
    ("predict", "p.png", "--config-file", C, "--weights", "PATH", "--vocabulary", "cat;"),
    ("predict", "p.png", "--model", "PATH", "--vocabulary", "cat;"),
    ("train", "--config-file", "PATH"),
    ("evaluate", "--config-file", "PATH", "--weights", "gone.pth"),
    ("sweep", "PATH"),
    ("convert", "PATH", "out.pth"),
    ("export", "--config-file", C, "--weights", "PATH", "--output", "m.onnx", "--vocabulary", "cat;"),
    ("check_data", "--config-file", "PATH"),
    ("structure_labels", "--config-file", "PATH", "--output", "maps"),
    ("visualize", "p.png", "--config-file", "PATH", "--output", "sheets"),
    ("similarity", "--config-file", "PATH"),
    ("similarity", "--config-file", C, "--training", "PATH"),
    ("oracle", "--config-file", "PATH"),
]
# The same for paths to write to; these must not be folders or free names.
WRITE = [
    ("evaluate", "--config-file", C, "--benchmarks", "toy_pas20", "--results", "PATH", "MODEL.DEVICE", "cpu"),
    ("export", "--config-file", C, "--weights", "w.pth", "--output", "PATH", "--vocabulary", "cat;"),
    ("convert", "w.pth", "PATH"),
    ("toy_world", "--root", "PATH"),
    ("pretrain_toy_clip", "--output-dir", "PATH"),
    ("structure_labels", "--config-file", C, "--output", "PATH", "--dataset", "toy_coco_stuff_train_stuff_all_sem_seg"),
]
# Options that take a number.
NUMERIC = [
    *(
        ("predict", "p.png", "--config-file", C, option)
        for option in ("--threshold", "--alpha", "--batch-size", "--tile")
    ),
    *(("evaluate", "--config-file", C, option) for option in ("--num-gpus", "--save-pictures")),
    *(("sweep", SWEEP, option) for option in ("--jobs", "--retries")),
    *(("visualize", "p.png", "--output", "sheets", option) for option in ("--ignore-label", "--columns")),
    ("structure_labels", "--output", "maps", "--workers"),
    ("prepare", "a150", "--workers"),
    ("check_data", "a150", "--workers"),
    *(("toy_world", "--root", "data", option) for option in ("--seed", "--processes")),
    *(("pretrain_toy_clip", option) for option in ("--threads", "--seed", "--steps", "--learning-rate")),
]
DEVICE = [
    ("train", "--config-file", C, "MODEL.DEVICE"),
    ("evaluate", "--config-file", C, "--benchmarks", "toy_pas20", "MODEL.DEVICE"),
    ("structure_labels", "--config-file", C, "--output", "maps", "--sources", "canny", "--device"),
    ("visualize", "p.png", "--config-file", C, "--output", "sheets", "--opts", "MODEL.DEVICE"),
    ("demo", "--output", "demo", "MODEL.DEVICE"),
]
DATA = [
    ("evaluate", "--config-file", C, "--benchmarks"),
    ("structure_labels", "--config-file", C, "--output", "maps", "--sources", "canny", "--dataset"),
    ("similarity", "--config-file", C, "--benchmarks"),
    ("oracle", "--config-file", C, "--benchmark"),
    ("prepare",),
    ("check_data",),
]

CASES = {
    "path to read": [[path if word == "PATH" else word for word in words] for words in READ for path in PATHS],
    "path to write": [
        [path if word == "PATH" else word for word in words] for words in WRITE for path in PATHS if "below" in path
    ]
    + [[word if word != "PATH" else "" for word in words] for words in WRITE],
    "number": [[*words[:-1], f"{words[-1]}={number}"] for words in NUMERIC for number in NUMBERS],
    "device": [[*words, device] for words in DEVICE for device in DEVICES],
    "data set": [[*words, name] for words in DATA for name in NAMES],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with one thing of every kind, and nothing that a program could do its work with."""
    folder = tmp_path_factory.mktemp("corpus")
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "file").write_text("text")
    (folder / "binary").write_bytes(random.Random(0).randbytes(500))
    (folder / "latin").write_bytes("Kätzchen".encode("latin-1"))
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("gone")
    Image.new("RGB", (8, 8)).save(folder / "p.png")
    return folder


def test_counts():
    counts = {kind: len(cases) for kind, cases in CASES.items()}
    print(", ".join(f"{kind}: {count}" for kind, count in counts.items()), "in all:", sum(counts.values()))
    assert min(counts.values()) > 10


@pytest.mark.parametrize(
    ("kind", "program"), [(kind, p) for kind in CASES for p in dict.fromkeys(w[0] for w in CASES[kind])]
)
def test_every_kind_of_wrong_input(place, kind, program, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(place / "data"))
    monkeypatch.setenv("PHYSSEG_HOME", str(place / "home"))
    wrong = []
    for _, *words in (case for case in CASES[kind] if case[0] == program):
        status = run_program(program, words)
        out, err = capsys.readouterr()
        last = err.strip().splitlines()[-1] if err.strip() else ""
        said = "error: " in last or last.startswith("failed: ")
        if status not in (1, 2) or "Traceback" in out + err or not said:
            wrong.append((status, words, last))
    assert not wrong
