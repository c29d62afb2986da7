#!/usr/bin/env python
"""Prepare ADE20K-150.

Raw: ADEChallengeData2016/{images,annotations}/validation.
See datasets/README.md.
"""

from physseg.data.prepare import main

if __name__ == "__main__":
    raise SystemExit(main(["a150"]))
