#!/usr/bin/env python
"""Compare the gradients of the loss terms; see --help, and docs/training.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("loss_gradients"))
