#!/usr/bin/env python
"""Train a model, or evaluate one with --eval-only; see --help, and docs/training.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("train"))
