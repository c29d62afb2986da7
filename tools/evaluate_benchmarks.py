#!/usr/bin/env python
"""Evaluate a checkpoint on several benchmarks in one run; see --help, and docs/evaluation.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("evaluate"))
