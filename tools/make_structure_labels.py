#!/usr/bin/env python
"""Make structure maps ahead of training; see --help, and docs/method.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("structure_labels"))
