#!/usr/bin/env python
"""Prepare PASCAL-Context 459.

Raw: VOCdevkit/VOC2010/{JPEGImages, trainval/*.mat, pascalcontext_val.txt or trainval_merged.json}.
See datasets/README.md.
"""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("prepare", ["pc459"]))
