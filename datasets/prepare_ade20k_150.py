#!/usr/bin/env python
"""Prepare ADE20K-150.

Raw: ADEChallengeData2016/{images,annotations}/validation.
See datasets/README.md.
"""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("prepare", ["a150"]))
