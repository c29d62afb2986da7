#!/usr/bin/env python
"""Prepare COCO-Stuff 164K, train and val, and COCO-Object.

Raw: coco-stuff/images/{train2017,val2017}, coco-stuff/annotations/{train2017,val2017}.
See datasets/README.md.
"""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("prepare", ["coco_stuff", "coco_stuff_val", "coco_object"]))
