"""Ctrl-C and SIGTERM: what programs, trainings and worker processes do about them.

A program runs in `handled`. The first signal raises `Stopped` in its main thread, wherever that is. Within `deferred`
it is only noted, for code that ends at a place of its own choice (`requested`). A second signal raises `Stopped` in any
case, and if the main thread has not ended within seconds, in native code say, the process is ended for it.

One request often comes as several signals: a terminal or a scheduler signals every process of a group, and launchers
(ours, torchrun, srun) pass on what they get. What arrives within `_ONE_REQUEST_SECONDS` of the first counts as the
same. When it *arrives*: Python runs a handler only between two of its own instructions, so a thread notes the times.

Worker processes leave all this to their parent: `obey_parent`. Forked children of a program do so by themselves.

This module needs the standard library only; the signals themselves, and `signal.sigtimedwait`, are POSIX.
"""

import contextlib
import logging
import multiprocessing.resource_tracker
import os
import signal
import socket
import sys
import threading
import time
import types
from _thread import interrupt_main
from collections import deque
from collections.abc import Callable, Iterator
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ONE_REQUEST_SECONDS = 1.0
# What the main thread has to clean up after a second signal.
_LAST_SECONDS = 5.0
# What a worker has to clean up after its parent's SIGTERM, such as a file that is half written.
_WORKER_SECONDS = 3.0


class Stopped(KeyboardInterrupt):
    """A signal asked this process to stop. The message, if any, says what is saved and how to go on."""

    def __init__(self, message: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(message, number)
        self.message = message
        self.number = number

    def __str__(self) -> str:
        return self.message


def exit_status(stop: KeyboardInterrupt) -> int:
    """130 for Ctrl-C, 143 for SIGTERM: what a shell shows for a process that the signal ended."""
    return 128 + getattr(stop, "number", signal.SIGINT)


def report(stop: KeyboardInterrupt) -> int:
    """Write a stopped program's last line, once for all processes of a run, and return its exit status."""
    if _speaks():
        name = signal.Signals(exit_status(stop) - 128).name
        print(f"stopped by {name}. {stop}".rstrip(), file=sys.stderr, flush=True)
    return exit_status(stop)


def cause(error: BaseException | None) -> Stopped | None:
    """The stop that an exception comes from, where a library made another one of it (OmegaConf does); else None."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__cause__ or error.__context__
    return error


def leave_words_to_another() -> None:
    """Let this process say nothing when it is stopped; the one that has started it does."""
    global _silent
    _silent = True


def end_process(status: int) -> NoReturn:
    """End this process without the interpreter's own end, which after the import of PyTorch takes seconds of computing.

    What is buffered is written, and workers are ended.
    """
    for process in multiprocessing.active_children():
        process.kill()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


@contextlib.contextmanager
def explained(message: str) -> Iterator[None]:
    """Give a stop that comes out of the block, and says nothing yet, a message such as how to go on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if getattr(stop, "message", ""):
            raise
        raise Stopped(message, exit_status(stop) - 128) from None


@contextlib.contextmanager
def handled(*, one_request_seconds: float = _ONE_REQUEST_SECONDS) -> Iterator[None]:
    """Handle both signals as described above; inside another `handled`, or off the main thread, nothing changes.

    A signal that the caller of the program ignores (``nohup``, a shell's background job) stays ignored.

    Args:
        one_request_seconds: how far signals of one request may be apart.
    """
    global _watch
    if _watch is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _Watch(one_request_seconds)
    with contextlib.ExitStack() as stack:
        stack.callback(watch.close)
        _watch = watch
        watch.open()
        # They may have been blocked while this process started (`blocked`): now they come.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        yield


@contextlib.contextmanager
def deferred(message: str = "", action: Callable[[int], None] | None = None) -> Iterator[None]:
    """Note the first signal instead of raising `Stopped`; raise it at the end of the block if the block does not.

    The block asks `requested` from time to time and ends early, by an exception of its own if it likes. May be nested:
    the innermost block's message and action count, and the outermost raises. Off the main thread it does nothing.

    Args:
        message: written to the terminal when the signal comes.
        action: called in the main thread with the signal's number, soon after it has come. It must not raise.
    """
    with handled():
        watch = _watch
        if watch is None or threading.current_thread() is not threading.main_thread():
            yield
            return
        watch.deferrals.append((message, action))
        try:
            yield
        finally:
            watch.deferrals.pop()
        if watch.number and not watch.deferrals:
            raise Stopped(number=watch.number)


def requested() -> int:
    """Number of the signal that asked this process to stop, or 0. Once asked, it stays so."""
    return _watch.number if _watch is not None else 0


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Hold both signals back while processes are started; these hold them back until they enter `handled`."""
    global _starting
    # It would unblock them itself when it is started later (CPython's multiprocessing.resource_tracker).
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    _starting = True
    try:
        yield
    finally:
        _starting = False
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_parent() -> None:
    """Make this worker process ignore both signals, unless its parent sends it SIGTERM, and end with its parent."""
    parent = multiprocessing.parent_process()
    _obey(os.getppid() if parent is None or parent.pid is None else parent.pid)


def leaving() -> bool:
    """Whether the parent of this worker process has told it to end: no new work should begin."""
    return _leaving


class _Watch:
    """State of a `handled` block."""

    def __init__(self, one_request_seconds: float) -> None:
        self.number = 0
        self.deferrals: list[tuple[str, Callable[[int], None] | None]] = []
        self._seconds = one_request_seconds
        self._first: float | None = None
        self._ending = False
        self._swallowed = False
        self._arrivals: deque[float] = deque()
        self._receiver, self._sender = socket.socketpair()
        # A handler that comes between a byte's leaving the socket and its being noted would miss a second request.
        # Reentrant: a handler may interrupt another one.
        self._taking = threading.RLock()
        self._before: dict[int, object] = {}
        self._closed = threading.Event()

    def open(self) -> None:
        self._sender.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        self._hook_before, sys.unraisablehook = sys.unraisablehook, self._unraisable
        threading.Thread(target=self._note_arrivals, name="signals", daemon=True).start()
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)

    def close(self) -> None:
        global _watch
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        sys.unraisablehook = self._hook_before
        _watch = None
        self._closed.set()
        self._sender.close()

    def _note_arrivals(self) -> None:
        with self._receiver:
            while self._receiver.recv(1, socket.MSG_PEEK):
                with self._taking:
                    try:
                        byte = self._receiver.recv(1, socket.MSG_DONTWAIT)
                    except BlockingIOError:  # the handler was faster
                        continue
                    if not byte or byte[0] not in SIGNALS:
                        continue
                    now = time.monotonic()
                    self._arrivals.append(now)
                self._is_another(now)

    def _is_another(self, when: float) -> bool:
        """Whether a signal that arrived then is a second request; if so, the time of the main thread is limited."""
        if self._first is None:
            self._first = when
        another = when - self._first >= self._seconds
        if another and not self._ending:
            self._ending = True
            threading.Thread(target=self._end, name="end", daemon=True).start()
        return another

    def _end(self) -> None:
        if not self._closed.wait(_LAST_SECONDS):
            for process in multiprocessing.active_children():
                process.kill()
            os._exit(128 + (self.number or signal.SIGTERM))

    def _new_arrivals(self) -> list[float]:
        """Times of the signals since the last call; those that the thread has not seen yet came just now."""
        arrivals = []
        with self._taking:
            while self._arrivals:
                arrivals.append(self._arrivals.popleft())
            with contextlib.suppress(BlockingIOError):
                waiting = self._receiver.recv(4096, socket.MSG_DONTWAIT)
                arrivals += [time.monotonic()] * sum(byte in SIGNALS for byte in waiting)
        own = self._sender.fileno()
        if (other := signal.set_wakeup_fd(own, warn_on_full_buffer=False)) != own:  # asyncio has its own, for example
            signal.set_wakeup_fd(other)
            arrivals.append(time.monotonic())
        return arrivals

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        another = any([self._is_another(when) for when in self._new_arrivals()])
        if self._swallowed:
            self._swallowed = False
            raise Stopped(number=self.number)
        if not self.number:
            self.number = number
            if not self.deferrals:
                raise Stopped(number=number)
            message, action = self.deferrals[-1]
            if message and _speaks():
                # Not by print or a logger: one of them may be what the signal has interrupted.
                with contextlib.suppress(OSError):
                    os.write(2, f"{message}\n".encode())
            if action is not None:
                action(number)
        if another:
            raise Stopped(number=number)

    def _unraisable(self, unraisable) -> None:
        if not issubclass(unraisable.exc_type, Stopped):
            self._hook_before(unraisable)
            return
        # It came in a place that lets no exception out, such as __del__, and would be lost: once more, outside of it.
        self._swallowed, self._first = True, None
        main = threading.main_thread().ident
        threading.Timer(0.05, signal.pthread_kill, (main, self.number)).start()


_watch: _Watch | None = None
_starting = False
_leaving = False


_silent = False


def _speaks() -> bool:
    # Of the processes that torchrun has started one is enough.
    return not _silent and os.environ.get("RANK", "0") == "0"


def _obey(parent: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_serve, args=(parent, os.getppid()), name="signals", daemon=True).start()


def _serve(parent: int, nearest: int) -> None:
    """Wait for the parent's SIGTERM, or its end; ``nearest`` is the process that forked this one, usually the same."""
    while os.getppid() == nearest:
        arrived = signal.sigtimedwait(SIGNALS, 1.0)
        if arrived is not None and arrived.si_pid == parent and arrived.si_signo == signal.SIGTERM:
            interrupt_main(signal.SIGTERM)
            time.sleep(_WORKER_SECONDS)
            break
    os._exit(0)


def _leave(number: int, frame: types.FrameType | None) -> None:
    global _leaving
    _leaving = True
    # What the end of a pool breaks off in here is of no interest to anybody.
    with contextlib.suppress(OSError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    raise SystemExit


def _after_fork() -> None:
    global _watch, _starting
    if _watch is None:
        return
    _watch = None
    signal.set_wakeup_fd(-1)
    if not _starting:
        _obey(os.getppid())
    _starting = False


os.register_at_fork(after_in_child=_after_fork)
