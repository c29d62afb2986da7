"""The first lines of every program and of the command `physseg`: import it, and say in one line what stopped that.

The import takes seconds, in which Ctrl-C may come, and may find a library missing. To catch that takes a module outside
the package, since importing anything of a package imports the package first. All else is physseg.cli.boundary's part.
"""

import importlib.util
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

_NO_MEMORY = ("failed to map segment", "annot allocate memory")  # the dynamic linker's words


def start(program: str, first_words: Sequence[str] = ()) -> int:
    """Run a program of `physseg.cli.PROGRAMS` on this process's command line and return its exit status.

    Args:
        program: its name.
        first_words: put before the command line's own.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    _open_standard_streams()
    try:
        os.getcwd()
    except FileNotFoundError:  # torch's mathematics library would end the process with words of its own
        print("error: the working directory is gone; change to one that is there.", file=sys.stderr)
        return 1
    try:
        from physseg import signals
        from physseg.cli.boundary import run_program
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] == "physseg":
            raise
        print(f"error: physseg needs {error.name}, which is not installed for {sys.executable}.", file=sys.stderr)
        return 1
    except ImportError as error:
        no_memory = any(words in str(error) for words in _NO_MEMORY)
        # A library of another version than it was built for: where says more than what.
        if error.name is not None and not no_memory:
            raise
        print(f"error: {error}{': not enough memory to load it' if no_memory else ''}", file=sys.stderr)
        return 1
    status = run_program(program, [*first_words, *sys.argv[1:]])
    if status - 128 in signals.SIGNALS:
        signals.end_process(status)
    return status


def _open_standard_streams() -> None:
    """Give the null device to streams that the caller closed: the next file would get their number and our words."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(number)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def _stop(number: int, frame: object) -> None:
    """End at once: before the program, which has its own handlers (physseg/signals.py), or after it."""
    if os.environ.get("RANK", "0") == "0":
        os.write(2, f"stopped by {signal.Signals(number).name}.\n".encode())
    os._exit(128 + number)


def command() -> int:
    """Run ``physseg PROGRAM ...`` and return its exit status.

    A program's name may be written with dashes, and shortened as long as it is the only one to begin so.
    """
    programs = _programs()
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    wanted = word.replace("-", "_")
    found = [name for name in programs if name == wanted] or [name for name in programs if name.startswith(wanted)]
    if len(found) == 1 and word:
        del sys.argv[1]
        # argparse takes the name of the program from here.
        sys.argv[0] = f"physseg {found[0].replace('_', '-')}"
        return start(found[0])
    asked = word in ("", "help", "-h", "--help")
    print(_overview(programs), file=sys.stdout if asked else sys.stderr)
    if asked:
        return 0
    which = f"may be {' or '.join(found)}" if found else "is no program of physseg"
    print(f"error: {word!r} {which}", file=sys.stderr)
    return 2


def _programs() -> dict[str, str]:
    """Name and purpose of each, read without the seconds that importing physseg takes."""
    package = Path(importlib.util.find_spec("physseg").origin).parent
    return runpy.run_path(str(package / "cli" / "__init__.py"))["PROGRAMS"]


def _overview(programs: dict[str, str]) -> str:
    width = max(map(len, programs))
    lines = [f"  {name.replace('_', '-'):{width}}  {purpose}" for name, purpose in programs.items()]
    first = ("usage: physseg PROGRAM ...", "", "Open-vocabulary semantic segmentation.", "")
    return "\n".join((*first, *lines, "", "physseg PROGRAM --help says more."))
