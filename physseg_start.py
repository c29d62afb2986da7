"""The first lines of every program: import physseg, and say in one line what stopped the import.

The import takes seconds, in which Ctrl-C may come, and may find a library missing. To catch that takes a module outside
the package, since importing anything of a package imports the package first. All else is physseg.cli.boundary's part.
"""

import sys
from collections.abc import Sequence


def start(program: str, first_words: Sequence[str] = ()) -> int:
    """Run a program of `physseg.cli.PROGRAMS` on this process's command line and return its exit status.

    Args:
        program: its name.
        first_words: put before the command line's own.
    """
    try:
        from physseg.cli.boundary import run_program
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] == "physseg":
            raise
        print(f"error: physseg needs {error.name}, which is not installed for {sys.executable}.", file=sys.stderr)
        return 1
    except ImportError as error:
        if error.name is not None:  # a library of another version than it was built for: where says more than what
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return run_program(program, [*first_words, *sys.argv[1:]])
