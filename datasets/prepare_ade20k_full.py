#!/usr/bin/env python
"""Prepare ADE20K-847.

Raw: ADE20K_2021_17_01/index_ade20k.pkl and the folders it lists.
See datasets/README.md.
"""

from physseg.data.prepare import main

if __name__ == "__main__":
    raise SystemExit(main(["a847"]))
