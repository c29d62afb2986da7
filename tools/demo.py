#!/usr/bin/env python
"""The whole job on a laptop's CPU, from raw files to a report; see --help, and README.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("demo"))
