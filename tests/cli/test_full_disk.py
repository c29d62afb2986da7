"""Disks that are full, read-only, or take small files only: one message that says so, and no file half written."""

import multiprocessing
import os
import re
import resource
import subprocess
import sys

import pytest
from PIL import Image

from physseg.cli.boundary import run_program
from tests.small_model import CONFIG, OPTS, save_weights

SMALL = [*map(str, OPTS)]
C = str(CONFIG)
# Program, its command line, and what it would write; PLACE is the disk.
WRITERS = [
    ("toy_scene", ["PLACE/scene.png"], "scene.png"),
    (
        "predict",
        ["p.png", "--config-file", C, "--weights", "w.pth", "--vocabulary", "cat;", "--output", "PLACE/o"],
        "o",
    ),
    ("lighten", ["w.pth", "PLACE/light.safetensors", "--config-file", C], "light.safetensors"),
    ("similarity", ["--config-file", C, "--benchmarks", "toy_pas20", "--output", "PLACE/s.json", *SMALL], "s.json"),
    ("toy_world", ["--root", "PLACE/world", "--processes", "1"], "world"),
    ("train", ["--config-file", C, *SMALL, "OUTPUT_DIR", "PLACE/run"], "run"),
]
WRITERS[1][1].extend(["--opts", *SMALL])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    save_weights(folder / "w.pth")
    Image.radial_gradient("L").convert("RGB").save(folder / "p.png")
    return folder


def ended(program, words, folder, limit=None):
    """Status and words of a program in a process of its own, none of whose files may grow beyond ``limit``."""
    reader, writer = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_run, args=(program, words, folder, limit, writer))
    process.start()
    os.close(writer)
    with open(reader, errors="replace") as said:
        text = said.read()
    process.join()
    return process.exitcode, text


def _run(program, words, folder, limit, writer):
    os.chdir(folder)
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    # Line by line, as standard error is.
    sys.stdout, sys.stderr = (open(n, "w", buffering=1, closefd=False) for n in (1, 2))  # noqa: SIM115
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    os._exit(run_program(program, words))


def check(status, text, message):
    assert "Traceback" not in text
    (said,) = [line for line in re.split(r"[\r\n]", text) if line.startswith(("error: ", "failed: "))]
    assert message in said
    assert status == 1


def whole(folder):
    """Files that are there under their final names."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]


@pytest.mark.parametrize(("program", "words", "target"), WRITERS[:4])
def test_files_that_may_not_grow(program, words, target, place, tmp_path):
    words = [word.replace("PLACE", str(tmp_path)) for word in words]
    check(*ended(program, words, place, limit=100), "too large")
    assert whole(tmp_path) == []


@pytest.fixture
def disk(tmp_path, request):
    """A disk of its own, full or read-only; only the superuser can make one."""
    size, options = request.param
    target = tmp_path / "disk"
    target.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(target)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a disk takes a superuser")
    if options:
        subprocess.run(["mount", "-o", f"remount,{options}", str(target)], check=True)
    yield target
    subprocess.run(["umount", "--lazy", str(target)], check=True)


@pytest.mark.parametrize("disk", [("64k", "")], indirect=True)
@pytest.mark.parametrize(("program", "words", "target"), WRITERS)
def test_a_full_disk(program, words, target, place, disk):
    with open(disk / "filler", "wb", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while filler.write(bytes(size)):
                    pass
            except OSError:
                continue
    check(*ended(program, [word.replace("PLACE", str(disk)) for word in words], place), "No space left on device")
    assert [path for path in whole(disk) if path.stat().st_size and path.name != "filler"] == []


@pytest.mark.parametrize("disk", [("1m", "ro")], indirect=True)
@pytest.mark.parametrize(("program", "words", "target"), WRITERS)
def test_a_read_only_disk(program, words, target, place, disk):
    check(*ended(program, [word.replace("PLACE", str(disk)) for word in words], place), "Read-only file system")
