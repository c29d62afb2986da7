"""Whose matter an exception is: the user's, the machine's, or a bug of ours.

Three questions, in this order:

1. Did a ``raise`` statement of physseg's own raise it? Then it is a **refusal**: we looked at something and said no, in
   a message that was written to be read (CONTRIBUTING.md: what was expected, what came, what to do). Only
   AssertionError and NotImplementedError are left out: they mean what cannot happen.
2. Is it the **machine's**: an OSError (a file, a disk, a network, whoever met it first), memory that has run out, or
   one of the texts by which libraries say that there is no such device? Then it gets a line of advice.
3. Else it is a **bug**, however much it looks like a mistake: ``int("x")`` in a file of ours and a ValueError from deep
   within torch are faults of whoever let "x" come that far.

Why by place, and not by a class of exceptions of our own: callers of the library expect ValueError and
FileNotFoundError; a class would have to be thought of at each of 200 places, and a forgotten one would show its user a
traceback; and by class alone torch's ValueError looks like ours. The place cannot be forgotten. Its price: where our
own code breaks a rule between two of our functions, the user reads that rule as a message; --traceback shows where it
came from.

A traceback does not cross from one process to another except as text, which is read the same way.
"""

import dis
import errno
import importlib
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType

PACKAGE = Path(__file__).resolve().parents[1]
_NEVER_REFUSALS = (AssertionError, NotImplementedError)
_RAISE = dis.opmap["RAISE_VARARGS"]

# What to do about an OSError that Python itself raised. Its own text says what, and the file.
_ADVICE = {
    errno.ENOSPC: "The disk is full: make room, or write elsewhere.",
    errno.EDQUOT: "Your quota on this disk is used up: make room, or write elsewhere.",
    errno.EFBIG: "The file may not grow that large here (ulimit -f, or the file system).",
    errno.EROFS: "The disk is read-only: write elsewhere.",
    errno.EACCES: "You have no permission: check who owns it, or use another place.",
    errno.EPERM: "You have no permission: check who owns it, or use another place.",
    errno.EEXIST: "There is a file where a folder is wanted: give another path.",
    errno.ENOTDIR: "There is a file where a folder is wanted: give another path.",
    errno.EISDIR: "There is a folder where a file is wanted: give a file.",
    errno.ENAMETOOLONG: "The name is too long for this file system.",
    errno.ELOOP: "Symbolic links lead in a circle.",
    errno.ENOENT: "Check the path.",
    errno.EMFILE: "Too many files are open at once: raise ulimit -n.",
    errno.ENOMEM: "Memory has run out: fewer processes, or less at a time.",
    errno.EIO: "The disk or the network file system has failed.",
    errno.EADDRINUSE: "Another program uses this port: give another one.",
}
_MEMORY = (
    "Memory has run out: less at a time (batch size, image sizes, DATALOADER.NUM_WORKERS, SOLVER.ACCUMULATION_STEPS)"
)
_DEVICE = "This machine has no such device that PyTorch can use: set MODEL.DEVICE to cpu, cuda or cuda:N"
# Texts of libraries about the machine, and what to do.
_MACHINE = (
    (r"out of memory|[Cc]an(no|')t allocate memory|not enough memory|Insufficient memory|bad allocation", _MEMORY),
    (r"could not (create|execute) a primitive( descriptor)?\Z", _MEMORY),  # oneDNN's word for it
    (r"DataLoader worker .* is killed by signal: Killed", _MEMORY),
    (r"NVIDIA driver|not compiled with CUDA|No CUDA GPUs|CUDA driver|invalid device ordinal", _DEVICE),
    (r"device type at start of device string|Invalid device string|not linked with support for", _DEVICE),
    (
        r"PytorchStreamWriter failed|unexpected pos \d+ vs|file write failed|No space left on device|File too large",
        "The disk is full or not writable",
    ),
    (
        r"connectFullMesh failed|timed out connecting|(client|server) socket has (failed|timed out)",
        "The processes of this run do not reach each other: check --dist-url, ports and firewalls",
    ),
    (r"DataLoader worker .* Bus error", "Shared memory has run out: fewer DATALOADER.NUM_WORKERS, larger /dev/shm"),
)
# What the processes of a run hear when one of them ends.
_ECHO = r"[Cc]onnection (was )?(closed|reset) by|[Bb]roken pipe|NCCL .*(remote|abort)|Timed out waiting \d+ms"


class Kind(Enum):
    """Whose matter: a refusal is the user's, an echo another process's."""

    REFUSAL = "refusal"
    MACHINE = "machine"
    ECHO = "echo"
    BUG = "bug"


@dataclass(frozen=True)
class Judgement:
    """kind, and the message for the user."""

    kind: Kind
    message: str


def judge(error: BaseException) -> Judgement:
    """Whose matter an exception is, and its message."""
    origin = _from_text(error)
    kind, message, refused = origin or (type(error), _message(error), _raised_by_us(error.__traceback__))
    if refused and not issubclass(kind, _NEVER_REFUSALS):
        return Judgement(Kind.REFUSAL, message)
    if issubclass(kind, OSError):
        advice = _ADVICE.get(getattr(error, "errno", None), "")
        return Judgement(Kind.MACHINE, f"{message}. {advice}" if advice else message)
    if issubclass(kind, MemoryError):
        return Judgement(Kind.MACHINE, f"{_MEMORY}. ({message})")
    if not issubclass(kind, ValueError | TypeError | LookupError):
        for pattern, advice in _MACHINE:
            if re.search(pattern, message):
                return Judgement(Kind.MACHINE, f"{advice}. ({message.strip().splitlines()[0]})")
        if re.search(_ECHO, message):
            return Judgement(Kind.ECHO, "another process of this run ended first; its message says why")
    return Judgement(Kind.BUG, f"{kind.__name__}: {message}")


def _message(error: BaseException) -> str:
    # str() of a KeyError quotes its text.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text or type(error).__name__


def _raised_by_us(trace: TracebackType | None) -> bool:
    """Whether the innermost frame is of this package and stands at a ``raise`` statement."""
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return _is_ours(code.co_filename) and code.co_code[trace.tb_lasti] == _RAISE


def _is_ours(file: str) -> bool:
    return PACKAGE in Path(file).resolve().parents


def _from_text(error: BaseException) -> tuple[type[BaseException], str, bool] | None:
    """Type, message and `_raised_by_us` of an exception that came from another process; None if it did not.

    PyTorch's data workers and `torch.multiprocessing.spawn` put the traceback into the message, Python's own pools
    into the cause.
    """
    pooled = "RemoteTraceback" in type(error.__cause__).__name__
    text = str(error.__cause__) if pooled else str(error)
    if not (pooled or text.startswith("Caught ") or "terminated with the following error" in text):
        return None
    _, found, last = text.rpartition("Traceback (most recent call last):\n")
    frames = list(re.finditer(r'^  File "(?P<file>.+)", line \d+, in .+\n(?P<source>    .*\n)?', last, re.MULTILINE))
    if not found or not frames:
        return None
    raised = re.search(r"^(?P<kind>\w[\w.]*)(: (?P<message>.*))?", last[frames[-1].end() :], re.MULTILINE | re.DOTALL)
    if raised is None:
        return None
    kind = type(error) if pooled else _find_class(raised["kind"])
    message = _message(error) if pooled else (raised["message"] or raised["kind"]).rstrip('\n"')
    source = frames[-1]["source"] or ""
    return kind, message, _is_ours(frames[-1]["file"]) and source.lstrip().startswith("raise ")


def _find_class(name: str) -> type[BaseException]:
    """The exception class of a dotted name; RuntimeError for one that is not known here."""
    module, _, name = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module or "builtins"), name)
    except (ImportError, AttributeError):
        return RuntimeError
    return found if isinstance(found, type) and issubclass(found, BaseException) else RuntimeError
