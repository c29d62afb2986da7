#!/usr/bin/env python
"""Prepare PASCAL VOC 2012 as PAS-20, PAS-20b and VOC-21.

Raw: VOCdevkit/VOC2012/{JPEGImages, SegmentationClass, ImageSets/Segmentation/val.txt}.
See datasets/README.md.
"""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("prepare", ["pas20", "pas20b", "voc21"]))
