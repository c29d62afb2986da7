#!/usr/bin/env python
"""Prepare PASCAL-Context 59.

Raw: VOCdevkit/VOC2010/{JPEGImages, trainval_merged.json}.
See datasets/README.md.
"""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("prepare", ["pc59", "pc60"]))
