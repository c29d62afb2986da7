#!/usr/bin/env python
"""Check prepared data sets: counts, names, label values, sizes; see --help, and datasets/README.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("check_data"))
