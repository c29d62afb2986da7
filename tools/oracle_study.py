#!/usr/bin/env python
"""What limits the score, finding regions or naming them? See --help, and docs/evaluation.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("oracle"))
