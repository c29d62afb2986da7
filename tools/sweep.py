#!/usr/bin/env python
"""Run the trainings of a sweep file and write one table of them; see --help, and docs/sweeps.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("sweep"))
