#!/usr/bin/env python
"""Prepare PASCAL VOC 2012 as PAS-20 and PAS-20b.

Raw: VOCdevkit/VOC2012/{JPEGImages, SegmentationClass, ImageSets/Segmentation/val.txt}.
See datasets/README.md.
"""

from physseg.data.prepare import main

if __name__ == "__main__":
    raise SystemExit(main(["pas20", "pas20b"]))
