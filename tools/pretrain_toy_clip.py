#!/usr/bin/env python
"""Pre-train the toy CLIP that physseg ships; see --help, and docs/toy_world.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("pretrain_toy_clip"))
