#!/usr/bin/env python
"""Prepare Cityscapes-19, val.

Raw: cityscapes/leftImg8bit/val, cityscapes/gtFine/val.
See datasets/README.md.
"""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("prepare", ["cityscapes"]))
