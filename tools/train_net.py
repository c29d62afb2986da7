#!/usr/bin/env python
"""Train a model, or evaluate one with --eval-only.

    python tools/train_net.py --config-file configs/toy.yaml
    python tools/train_net.py --config-file configs/physseg_vitb16.yaml --num-gpus 4 SOLVER.IMS_PER_BATCH 4
    python tools/train_net.py --config-file configs/toy.yaml --resume
    python tools/train_net.py --config-file configs/toy.yaml --eval-only MODEL.WEIGHTS output/toy/model_final.pth
    torchrun --nproc-per-node 4 tools/train_net.py --config-file configs/physseg_vitb16.yaml

Keys and values after the options override the config. See docs/training.md.
"""

import sys

import physseg  # noqa: F401  (first: it prepares Detectron2 and registers model and data)
from physseg.engine import main

if __name__ == "__main__":
    sys.exit(main())
