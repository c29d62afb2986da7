"""Mixed precision: which autocast, and whether gradients need scaling."""

import contextlib

import torch


def autocast(device_type: str, enabled: bool, dtype: str) -> contextlib.AbstractContextManager:
    """Autocast context of a training step.

    Args:
        device_type: "cuda" or "cpu", the model's.
        enabled: False gives a context that does nothing.
        dtype: "bf16" or "fp16"; the CPU has bf16 only.

    Raises:
        ValueError: fp16 on the CPU, or another dtype.
    """
    if not enabled:
        return contextlib.nullcontext()
    if dtype not in ("bf16", "fp16"):
        raise ValueError(f'SOLVER.AMP.DTYPE must be "bf16" or "fp16"; got {dtype!r}.')
    if dtype == "fp16" and device_type == "cpu":
        raise ValueError('SOLVER.AMP.DTYPE must be "bf16" on the CPU: fp16 needs a GPU.')
    return torch.autocast(device_type, dtype=torch.bfloat16 if dtype == "bf16" else torch.float16)


def build_grad_scaler(device_type: str, enabled: bool, dtype: str) -> torch.amp.GradScaler:
    """Loss scaling, which only fp16 needs: bf16 has the exponent range of float32. Elsewhere it passes values on."""
    return torch.amp.GradScaler("cuda", enabled=enabled and dtype == "fp16" and device_type == "cuda")
