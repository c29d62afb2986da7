"""Processes that get signals at chosen moments. Forked: a new interpreter would take longer than its test."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from physseg import signals

_FORK = multiprocessing.get_context("fork")
_BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


class Program:
    """``body(say, go)`` in a process; ``say`` a word, wait for a ``go``."""

    def __init__(self, body):
        self._said, said = _FORK.Pipe(duplex=False)
        go, self._go = _FORK.Pipe(duplex=False)
        self.process = _FORK.Process(target=_run, args=(body, said.send, go.recv))
        self.process.start()

    def hears(self, word):
        assert self._said.poll(20)
        assert self._said.recv() == word

    def go(self):
        self._go.send(None)

    def send(self, number):
        os.kill(self.process.pid, number)

    def status(self):
        self.process.join(20)
        return self.process.exitcode


def _run(body, say, go):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with signals.handled(one_request_seconds=0.3):
            body(say, go)
    except KeyboardInterrupt as stop:
        sys.exit(signals.report(stop))


def sleep_long(say, go):
    say("ready")
    time.sleep(60)


@_BOTH
def test_the_first_signal_ends_the_program_with_the_shells_status(number):
    program = Program(sleep_long)
    program.hears("ready")
    program.send(number)
    assert program.status() == 128 + number


@_BOTH
def test_deferred_is_noted_and_raised_at_the_end_of_the_block(number):
    def body(say, go):
        with signals.deferred(action=say):
            say(signals.requested())
            go()
            say(signals.requested())
        say("not reached")

    program = Program(body)
    program.hears(0)
    program.send(number)
    program.hears(number)
    program.go()
    program.hears(number)
    assert program.status() == 128 + number


def test_an_exception_of_the_block_comes_before_the_request():
    def body(say, go):
        try:
            with signals.deferred(action=say):
                say("ready")
                go()
                raise signals.Stopped("all saved", signal.SIGTERM)
        except signals.Stopped as stop:
            say(str(stop))

    program = Program(body)
    program.hears("ready")
    program.send(signal.SIGINT)
    program.hears(signal.SIGINT)
    program.go()
    program.hears("all saved")
    assert program.status() == 0


def note_one_signal(say, go):
    with signals.deferred(action=say):
        say("ready")
        time.sleep(60)


def check_a_later_signal_acts_at_once(pause):
    program = Program(note_one_signal)
    program.hears("ready")
    program.send(signal.SIGINT)
    program.hears(signal.SIGINT)
    time.sleep(pause)
    program.send(signal.SIGTERM)
    assert program.status() == 128 + signal.SIGTERM


def test_a_later_signal_acts_at_once():
    check_a_later_signal_acts_at_once(0.5)


def test_a_later_signal_acts_at_once_however_late_its_arrival_is_noted(monkeypatch):
    """The thread that notes arrivals stops between taking a signal's byte and noting it, while the handler runs."""

    def late():
        if threading.current_thread().name == "signals":
            time.sleep(0.3)
        return monotonic()

    def after_the_thread(watch):
        time.sleep(0.1)
        return new_arrivals(watch)

    monotonic, new_arrivals = time.monotonic, signals._Watch._new_arrivals
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=late, sleep=time.sleep))
    monkeypatch.setattr(signals._Watch, "_new_arrivals", after_the_thread)
    check_a_later_signal_acts_at_once(0.7)


def test_one_request_may_be_several_signals_however_late_python_learns_of_them():
    with contextlib.suppress(signals.Stopped), signals.handled(), signals.deferred():
        watch = signals._watch
        for arrival in (100.0, 100.4, 100.9):
            watch._arrivals.append(arrival)
            watch._handle(signal.SIGINT, None)
        watch._arrivals.append(101.1)
        with pytest.raises(signals.Stopped):
            watch._handle(signal.SIGTERM, None)


def test_a_second_signal_ends_a_process_that_is_deaf(monkeypatch):
    monkeypatch.setattr(signals, "_LAST_SECONDS", 0.2)

    def body(say, go):
        with signals.deferred(action=say):
            say("ready")
            while True:
                with contextlib.suppress(KeyboardInterrupt):  # as native code that takes no interruption
                    time.sleep(60)

    program = Program(body)
    program.hears("ready")
    program.send(signal.SIGTERM)
    program.hears(signal.SIGTERM)
    time.sleep(0.5)
    program.send(signal.SIGTERM)
    assert program.status() == 128 + signal.SIGTERM


def test_a_stop_that_a_destructor_swallows_comes_again(capfd):
    class Careless:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(100):
                pass

    def body(say, go):
        Careless()
        time.sleep(60)

    assert Program(body).status() == 130
    assert "Traceback" not in capfd.readouterr().err


def worker(say, go):
    say("works")
    go()
    say("still works")
    time.sleep(60)


def with_worker(say, go):
    child = _FORK.Process(target=worker, args=(say, go), daemon=True)
    child.start()
    say(child.pid)
    child.join()
    say("joined")


def started_worker():
    program = Program(with_worker)
    first, second = (program._said.recv() for _ in range(2))
    return program, first if second == "works" else second


@_BOTH
def test_workers_leave_signals_to_their_parent(number):
    program, pid = started_worker()
    os.kill(pid, number)
    time.sleep(0.1)
    program.go()
    program.hears("still works")
    program.send(number)
    assert program.status() == 128 + number
    assert_gone(pid)


def test_workers_end_with_a_parent_that_is_killed():
    program, pid = started_worker()
    program.process.kill()
    assert_gone(pid)


def assert_gone(pid):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(ChildProcessError):  # an orphan is adopted by the tests (conftest.py)
            os.waitpid(pid, os.WNOHANG)
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the worker has outlived its parent")


def test_nothing_changes_off_the_main_thread_or_afterwards():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    seen = []

    def in_thread():
        with signals.handled(), signals.deferred():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    with signals.handled():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert seen == [before[0]]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert signals.requested() == 0


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.handled():
            os.kill(os.getpid(), signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@_BOTH
def test_the_last_line(number, capsys):
    assert signals.report(signals.Stopped("The state is saved.", number)) == 128 + number
    assert capsys.readouterr().err == f"stopped by {signal.Signals(number).name}. The state is saved.\n"
    assert signals.report(KeyboardInterrupt()) == 130
