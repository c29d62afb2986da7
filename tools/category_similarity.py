#!/usr/bin/env python
"""Similarity of benchmark vocabularies to the training vocabulary; see --help, and docs/evaluation.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("similarity"))
