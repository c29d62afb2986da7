"""`python -m physseg PROGRAM ...`, the same as the command `physseg`."""

import sys

from physseg_start import command

if __name__ == "__main__":
    sys.exit(command())
