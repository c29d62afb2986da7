#!/usr/bin/env python
"""Make the teacher's features ahead of ZeroSeg's training; see --help, and docs/without_masks.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("teacher_features"))
