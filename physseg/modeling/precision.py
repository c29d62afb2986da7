"""At which precision a model predicts: float32, bf16, or whichever is faster here.

bf16 is PyTorch's autocast around encoder, aggregation and decoder: products and convolutions take numbers of 8 bits'
precision and add them up in float32; norms, attention's softmax and class attention's sums compute in float32 inside.
Text features, the sigmoid over classes, resizing, the mean over windows and the argmax are float32 whatever is chosen.
"""

import contextlib
import logging
from functools import cache

import torch

from physseg.timing import device_clock

logger = logging.getLogger(__name__)

# "by_use" is the config's: float32 in evaluation and wherever a model is called, "auto" in `Predictor`.
PRECISIONS = ("by_use", "auto", "float32", "bf16")

# How many times faster products must be in bf16: conversions, and what is no product, take some of it back.
_LEAST_GAIN = 2.0
_TURNS = 5

# (rows, in, out) of x (rows, in) @ w (in, out).
Product = tuple[int, int, int]


def precision_context(
    precision: str, device: torch.device, products: tuple[Product, ...]
) -> contextlib.AbstractContextManager:
    """What to predict in. In float32 it leaves an autocast of the caller's alone.

    Args:
        precision: one of `PRECISIONS`.
        products: sizes of the model's largest products, for "auto".
    """
    if precision == "bf16" or (precision == "auto" and bf16_is_faster(device, products)):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


@cache
def bf16_is_faster(device: torch.device, products: tuple[Product, ...]) -> bool:
    """Whether products of these sizes take at most half as long in bf16, conversion of their input included.

    Tried once per process, device and sizes, for about a tenth of a second; on CPUs and CUDA GPUs alone.
    """
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_bf16_supported()):
        return False
    gain = product_gain(device, products)
    faster = gain >= _LEAST_GAIN
    chosen = "bf16" if faster else "float32"
    logger.info("Predicting in %s: in bf16, products run at %.1f times float32's speed on %s.", chosen, gain, device)
    return faster


@torch.no_grad()
def product_gain(device: torch.device, products: tuple[Product, ...]) -> float:
    """Time of the products in float32 over that in bf16; the best of a few turns of each."""
    clock = device_clock(device)
    total = dict.fromkeys((torch.float32, torch.bfloat16), 0.0)
    for rows, inner, outer in products:
        x = torch.ones(rows, inner, device=device)
        for dtype in total:
            weight = torch.ones(inner, outer, device=device, dtype=dtype)
            times = []
            for _ in range(_TURNS):
                began = clock()
                x.to(dtype) @ weight
                times.append(clock() - began)
            total[dtype] += min(times)
    return total[torch.float32] / total[torch.bfloat16]
