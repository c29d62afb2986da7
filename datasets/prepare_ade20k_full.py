#!/usr/bin/env python
"""Prepare ADE20K-847.

Raw: ADE20K_2021_17_01/index_ade20k.pkl and the folders it lists.
See datasets/README.md.
"""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("prepare", ["a847"]))
