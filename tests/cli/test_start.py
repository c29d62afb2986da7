"""What stops the import of physseg is said in one line."""

import builtins
import multiprocessing
import os
import signal
import sys

import pytest

import physseg_start


@pytest.fixture
def failing_import(monkeypatch):
    """Lets the import of the boundary raise."""

    def fail_with(error):
        genuine = builtins.__import__

        def importer(name, *args, **options):
            if name == "physseg.cli.boundary":
                raise error
            return genuine(name, *args, **options)

        monkeypatch.setattr(builtins, "__import__", importer)

    return fail_with


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 1, "error: physseg needs torch, which is not"),
        (ImportError("physseg needs Detectron2, which is not installed"), 1, "error: physseg needs Detectron2"),
        (
            ImportError("libx.so: failed to map segment from shared object", name="torch._C"),
            *(1, "error: libx.so: failed to map segment from shared object: not enough memory"),
        ),
    ],
)
def test_one_line(failing_import, capsys, error, status, message):
    failing_import(error)
    assert physseg_start.start("predict") == status
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(message)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_import(monkeypatch, capfd, number):
    genuine = builtins.__import__

    def interrupted_import(name, *args, **options):
        if name == "physseg.cli.boundary":
            os.kill(os.getpid(), number)
        return genuine(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", interrupted_import)
    process = multiprocessing.get_context("fork").Process(target=physseg_start.start, args=("predict",))
    process.start()
    process.join()
    assert process.exitcode == 128 + number
    assert capfd.readouterr().err == f"stopped by {signal.Signals(number).name}.\n"


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'physseg.gone'", name="physseg.gone"),
        ImportError("cannot import name 'x' from 'torch'", name="torch"),
    ],
)
def test_a_broken_installation_shows_where(failing_import, error):
    failing_import(error)
    with pytest.raises(ImportError):
        physseg_start.start("predict")


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert physseg_start.start("predict") == 1
    assert capsys.readouterr().err == "error: the working directory is gone; change to one that is there.\n"


def without_streams(path):
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.close(number)
        setattr(sys, name, None)
    physseg_start._open_standard_streams()
    with open(path, "w") as file:
        print("seen by nobody")
        os.write(2, b"nor this")
        file.write(f"{file.fileno() > 2} {sys.stdin.read()!r} {sys.stderr.writable()}")


def test_a_closed_stream_gives_its_number_to_no_file(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=without_streams, args=(tmp_path / "file",))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert (tmp_path / "file").read_text() == "True '' True"


def test_first_words_come_first(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["prepare_voc.py", "--toy"])
    assert physseg_start.start("prepare", ["cityscapes"]) == 1
    assert "there is no toy counterpart; leave out --toy" in capsys.readouterr().err
