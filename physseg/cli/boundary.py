"""The one boundary between programs and users: an exception becomes a message and a status.

- A refusal, or a limit of the machine: its message, the last line beginning with "error:", and status 1.
- A bug: the traceback, a line that says it is one, and status 70 (EX_SOFTWARE of sysexits.h).
- Ctrl-C or SIGTERM: one line, and status 130 or 143 (physseg/signals.py).

``--traceback``, understood by every program, shows the traceback of the first kind too; where a run keeps a log file,
it is always in there. What is what is decided in physseg/cli/judgement.py.

The processes of one run (torchrun's, or those that `launch` started) usually meet the same mistake. The first one
speaks; the others wait a moment, in which whoever started them ends them, and speak only if nobody did.
"""

import contextlib
import importlib
import logging
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from physseg import signals
from physseg.cli.judgement import Judgement, Kind, judge

ISSUES = "the project's issue tracker"
BUG = 70
_OPTION = "--traceback"
# Longer than torchrun and mp.spawn take to notice that a process has ended.
_GRACE_SECONDS = 5.0
# Processes that a program starts are told what its command line said.
_VARIABLE = "PHYSSEG_TRACEBACK"
# It shows the traceback of every error in training before it passes it on to here.
_DETECTRON2_LOOP = "detectron2.engine.train_loop"


def run_program(program: str | Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run a program and return its exit status; whatever it raises ends here.

    Args:
        program: a name of `physseg.cli.PROGRAMS`, or a ``main(argv)``.
        argv: the words of the command line without the program's name; None takes the process's.

    Returns:
        The program's own status, 2 where argparse refused the command line, or as above.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    with contextlib.suppress(AttributeError):  # a stream that a test put there
        # File names need not be UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")
        sys.stderr.reconfigure(errors="backslashreplace")

    def run() -> int:
        main = importlib.import_module(f"physseg.cli.{program}").main if isinstance(program, str) else program
        status = main(words)
        sys.stdout.flush()
        return status

    with _settings(_OPTION in words):
        words = [word for word in words if word != _OPTION]
        try:
            with signals.handled():
                return _guarded(run)
        except KeyboardInterrupt as stop:
            return signals.report(stop)


def run_in_process(main: Callable[..., Any], *args: Any) -> None:
    """Run ``main(*args)`` in a process that `physseg.engine.launch` started, within the same boundary.

    Raises:
        SystemExit: with the status, unless it is 0.
        KeyboardInterrupt: as it came; it is for whoever started the process.
    """

    def run() -> None:
        main(*args)

    status = _guarded(run)
    if status:
        sys.exit(status)


@contextlib.contextmanager
def _settings(show_traceback: bool) -> Iterator[None]:
    """Keep what the command line said where the processes that a program starts find it, and logging silent."""
    before = logging.raiseExceptions
    # A log file that cannot be written (a full disk) must not bury the message under tracebacks of its own.
    logging.raiseExceptions = False
    if show_traceback:
        os.environ[_VARIABLE] = "1"
    try:
        yield
    finally:
        logging.raiseExceptions = before
        if show_traceback:
            del os.environ[_VARIABLE]


@contextlib.contextmanager
def _told_once() -> Iterator[None]:
    """Keep Detectron2 from logging the exceptions that are reported here."""
    logger = logging.getLogger(_DETECTRON2_LOOP)
    before = logger.filters.copy()
    logger.addFilter(lambda record: not record.exc_info)
    try:
        yield
    finally:
        logger.filters = before


def _guarded(run: Callable[[], int | None]) -> int:
    try:
        with _told_once():
            return run() or 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            _close_stdout()  # what reads our output has read enough, as `| head` does
            return 128 + signal.SIGPIPE
        if (stop := signals.cause(error) or _lost_stop(error)) is not None:
            raise stop from None
        return report(error)


def _lost_stop(error: Exception) -> signals.Stopped | None:
    """The stop behind an error that does not name it: a library in another language may raise its own instead, or
    another process of the run was stopped first.

    What has an explanation, such as a full disk while the last state is saved, is told as what it is.
    """
    number = signals.requested()
    return signals.Stopped(number=number) if number and judge(error).kind in (Kind.BUG, Kind.ECHO) else None


def report(error: Exception) -> int:
    """Say what went wrong, keep the traceback in the log file, and return the exit status."""
    judgement = judge(error)
    _log(error)
    if _rank() > 0 or judgement.kind is Kind.ECHO:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # end at once, and without another word, when told to
        time.sleep(_GRACE_SECONDS)
    if not _can_print():
        _close_stdout()
    if judgement.kind is Kind.BUG or os.environ.get(_VARIABLE):
        traceback.print_exception(error)
    print(last_words(judgement), file=sys.stderr, flush=True)
    return BUG if judgement.kind is Kind.BUG else 1


def last_words(judgement: Judgement) -> str:
    """The message for the user; where it has several lines, the last one says again what it is about."""
    if judgement.kind is Kind.BUG:
        return (
            f"error: {judgement.message.splitlines()[0]}\n"
            f"error: this is a bug in physseg, no mistake of yours. Please report it to {ISSUES}, with all the above."
        )
    first, *details = judgement.message.strip().splitlines()
    if not details:
        return f"error: {first}"
    return "\n".join((first, *details, f"error: {first.rstrip(':. ')} (details above)"))


def _rank() -> int:
    """Number of this process in its run; 0 where there is one only."""
    torch_distributed = sys.modules.get("torch.distributed")
    if torch_distributed is not None and torch_distributed.is_available() and torch_distributed.is_initialized():
        return torch_distributed.get_rank()
    return int(os.environ.get("RANK", "0")) if os.environ.get("LOCAL_RANK") else 0


def _log(error: Exception) -> None:
    """Write the traceback to the run's log files, not to the terminal."""
    logger = logging.getLogger("physseg")
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, "Ended by an error:", (), (type(error), error, error.__traceback__)
    )
    for handler in logger.handlers:
        stream = getattr(handler, "stream", None)
        terminal = (None, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
        if stream not in terminal and not getattr(stream, "closed", False):
            with contextlib.suppress(OSError):
                handler.handle(record)


def _can_print() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose other end is closed."""
    with contextlib.suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False


def _close_stdout() -> None:
    """Let what is still to be written go nowhere, so that the interpreter's end does not complain."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
