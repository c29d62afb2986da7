#!/usr/bin/env python
"""Prepare PASCAL-Context 59.

Raw: VOCdevkit/VOC2010/{JPEGImages, trainval_merged.json}.
See datasets/README.md.
"""

from physseg.data.prepare import main

if __name__ == "__main__":
    raise SystemExit(main(["pc59"]))
