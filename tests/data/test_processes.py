"""Pools of workers that are interrupted."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time

import pytest

from physseg import signals
from physseg.data.processes import worker_pool


def nap(file):
    """Work on a file that must not be left behind half written."""
    open(file, "w").close()
    try:
        for _ in range(6000):
            time.sleep(0.01)
    finally:
        os.unlink(file)


def square(number):
    return number * number


def pooled(folder):
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with signals.handled(), worker_pool(2) as pool:
            list(pool.map(nap, [f"{folder}/{number}" for number in range(20)]))
    except KeyboardInterrupt as stop:
        sys.exit(signals.exit_status(stop))


def group_ends(number, seconds=60):
    """Whether all of a process group end by themselves. Those whose parent has ended are waited for here."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-number, os.WNOHANG)
        try:
            os.killpg(number, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_results_come_in_order():
    with worker_pool(2) as pool:
        assert list(pool.map(square, range(50), chunksize=4)) == [number * number for number in range(50)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_the_workers_once_they_have_cleaned_up(number, tmp_path, capfd):
    process = multiprocessing.get_context("fork").Process(target=pooled, args=(tmp_path,))
    process.start()
    end = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.05)
        assert time.monotonic() < end
    os.killpg(process.pid, number)
    process.join(60)
    assert process.exitcode == 128 + number
    assert not list(tmp_path.iterdir())
    assert "Traceback" not in capfd.readouterr().err
    assert group_ends(process.pid)


def test_an_error_of_the_caller_ends_the_workers(tmp_path):
    def fail():
        with worker_pool(2) as pool:
            pool.submit(nap, f"{tmp_path}/file")
            raise ValueError("the caller's")

    with pytest.raises(ValueError, match="the caller's"):
        fail()
    assert not list(tmp_path.iterdir())
