#!/usr/bin/env python
"""Run the trainings of a sweep file and write one table of them.

    python tools/sweep.py configs/sweeps/toy_table3.yaml --dry-run
    python tools/sweep.py configs/sweeps/toy_table3.yaml --jobs 2

Interrupted at any point, the same command goes on. See docs/sweeps.md.
"""

import sys

import physseg  # noqa: F401  (first: it prepares Detectron2 and registers model and data)
from physseg.sweep.main import main

if __name__ == "__main__":
    sys.exit(main())
