#!/usr/bin/env python
"""Export a model to ONNX with the vocabulary as an input; see --help, and docs/predict.md."""

import sys

from physseg_start import start

if __name__ == "__main__":
    sys.exit(start("export"))
