#!/usr/bin/env python
"""Draw the four pseudo ground truths of images side by side; see --help, and docs/method.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("visualize"))
