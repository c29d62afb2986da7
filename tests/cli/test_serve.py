"""The page's program: how it ends, and what it says where it cannot begin."""

import multiprocessing
import os
import signal
import socket
import sys
import time

import pytest

from physseg.cli.boundary import run_program

pytest.importorskip("gradio")


def serve():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.exit(run_program("serve", ["--model", "toy", "--device", "cpu"]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop(number, capfd):
    process = multiprocessing.get_context("fork").Process(target=serve)
    process.start()
    said = ""
    end = time.monotonic() + 100
    while "Ctrl-C ends it" not in said:
        assert process.is_alive()
        assert time.monotonic() < end
        time.sleep(0.05)
        said += capfd.readouterr().out
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 128 + number
    captured = capfd.readouterr()
    assert captured.err.splitlines()[-1] == f"stopped by {signal.Signals(number).name}."
    assert "Traceback" not in captured.out + captured.err


@pytest.fixture
def taken():
    """A port that another program listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use(taken, capsys):
    assert run_program("serve", ["--model", "toy", "--port", str(taken)]) == 1
    *_, last = capsys.readouterr().err.splitlines()
    assert last == (
        f"error: port {taken} of 127.0.0.1: another program uses it; "
        "give another --port, or none for the first free one"
    )


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--host", "nowhere.invalid"], 1, "--host nowhere.invalid: no such address is known here"),
        (["--host", "192.0.2.1"], 1, "this machine has no such address"),
        (["--host", " "], 1, "--host is empty"),
        (["--port", "0"], 2, "expected a whole number from 1 to 65535, got '0'"),
        (["--max-words", "256"], 2, "expected a whole number from 1 to 255, got '256'"),
        (["--device", "gpu"], 1, 'MODEL.DEVICE is "gpu", which this machine does not have'),
        (["--config-file", "nowhere.yaml"], 1, "nowhere.yaml"),
    ],
)
def test_what_it_cannot_serve(words, status, message, capsys):
    assert run_program("serve", ["--model", "toy", *words]) == status
    captured = capsys.readouterr()
    assert message in captured.err.splitlines()[-1]
    assert "Traceback" not in captured.err
