#!/usr/bin/env python
"""Convert a published CAT-Seg checkpoint into one for MODEL.WEIGHTS, or back; see --help, and docs/checkpoints.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("convert"))
