#!/usr/bin/env python
"""Prepare COCO-Stuff 164K, train and val.

Raw: coco-stuff/images/{train2017,val2017}, coco-stuff/annotations/{train2017,val2017}.
See datasets/README.md.
"""

from physseg.data.prepare import main

if __name__ == "__main__":
    raise SystemExit(main(["coco_stuff", "coco_stuff_val"]))
