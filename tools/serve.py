#!/usr/bin/env python
"""A page in the browser: drop a picture, type words; see --help, and docs/web.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("serve"))
