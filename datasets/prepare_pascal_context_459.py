#!/usr/bin/env python
"""Prepare PASCAL-Context 459.

Raw: VOCdevkit/VOC2010/{JPEGImages, trainval/*.mat, pascalcontext_val.txt or trainval_merged.json}.
See datasets/README.md.
"""

from physseg.data.prepare import main

if __name__ == "__main__":
    raise SystemExit(main(["pc459"]))
