#!/usr/bin/env python
"""What predicting in bf16 changes: labels and mIoU on the toy world, against float32; the speed is `speed.py`'s.

DETECTRON2_DATASETS=... python benchmarks/precision.py
"""

import argparse

import agreement
import torch
from torch import nn

from physseg.modeling.precision import bf16_is_faster


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    agreement.add_options(parser)
    args = parser.parse_args()
    vitb16 = ((576, 768, 3072), (4608, 128, 512))
    print(
        f'"auto" predicts with ViT-B/16 in {"bf16" if bf16_is_faster(torch.device("cpu"), vitb16) else "float32"} here'
    )
    for toy in args.toys:
        for data in args.data:
            agreement.compare(toy, data, args.images, {name: _setting(name) for name in ("float32", "bf16")})


def _setting(precision: str):
    def change(model: nn.Module) -> None:
        model.precision = precision

    return change


if __name__ == "__main__":
    main()
