#!/usr/bin/env python
"""Write the toy world in the raw formats of the real datasets; see --help, and docs/toy_world.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("toy_world"))
