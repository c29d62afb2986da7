#!/usr/bin/env python
"""Segment images, folders of images and videos with your own words; see --help, and docs/predict.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("predict"))
