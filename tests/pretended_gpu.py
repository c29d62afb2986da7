"""A pretended GPU: PyTorch's "privateuseone" device, computing on the CPU, strict about devices and counting waits.

A real GPU refuses operations whose tensors lie on different devices, and makes the host wait wherever a value is asked
for: `item`, `tolist`, `nonzero`, a boolean index, a copy to the host, a copy from host memory that is not pinned. Here
the first is an error too, and the second is counted, with the line of physseg that asked.

    with pretended_gpu() as gpu:
        model.to(DEVICE)
        ...
    gpu.waits     # Wait(what, where), in their order
"""

import contextlib
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretended"
ROOT = Path(__file__).parents[1]
aten = torch.ops.aten

# Operations whose result's size or value the host must know.
WAITING = {
    aten._local_scalar_dense.default: "item",
    aten.equal.default: "equal",
    aten.is_nonzero.default: "is_nonzero",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten._unique2.default: "unique",
    aten.unique_dim.default: "unique",
    aten.unique_consecutive.default: "unique",
    aten.bincount.default: "bincount",
    aten.repeat_interleave.Tensor: "repeat_interleave",
}
# Their kernels for CPU and CUDA are chosen by device; here the plain one is, which is made of other operations.
_SDP_CHOICE = aten._fused_sdp_choice.default


class Wait(NamedTuple):
    """what: the operation. where: "file:line" of the innermost frame within this project."""

    what: str
    where: str


class PretendedTensor(Tensor):
    """A tensor of the pretended GPU; ``held`` has its values."""

    @staticmethod
    def __new__(cls, held: Tensor, requires_grad: bool = False) -> "PretendedTensor":
        return Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=DEVICE, requires_grad=requires_grad,
        )  # fmt: skip

    def __init__(self, held: Tensor, requires_grad: bool = False) -> None:
        self.held = held

    def __repr__(self) -> str:
        return f"PretendedTensor({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {}, None)


class PretendedGpu(TorchDispatchMode):
    """Runs operations on the device and records waits and launches."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[Wait] = []
        self.copies: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {}, self)

    def wait(self, what: str) -> None:
        frames = [f for f in traceback.extract_stack() if f.filename.startswith(str(ROOT / "physseg"))]
        where = f"{Path(frames[-1].filename).relative_to(ROOT)}:{frames[-1].name}" if frames else "outside"
        self.waits.append(Wait(what, where))

    def counts(self) -> Counter:
        """Waits by what and where."""
        return Counter(self.waits)


class _Functions(TorchFunctionMode):
    """`tensor`, `new_tensor` and `tolist`, which do not come by as operations."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == NAME:
            device = kwargs.pop("device")
            return torch.tensor(*args, **kwargs).to(device)
        if func is Tensor.new_tensor and isinstance(args[0], PretendedTensor):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype} | kwargs).to(DEVICE)
        if func is Tensor.tolist and isinstance(args[0], PretendedTensor):
            return args[0].cpu().tolist()
        return func(*args, **kwargs)


class _Module:
    """What torch.privateuseone must offer."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def synchronize(self, device=None) -> None:
        pass


# Under a name of its own: only then does PyTorch take it, and no CUDA that is built in, for the machine's accelerator.
_setup_privateuseone_for_python_backend(rename=NAME, backend_module=_Module())
DEVICE = torch.device(NAME, 0)
# Autocast has no casts for such a device. These operations take the lower precision, as on a CPU and on CUDA; the
# others stay as they are.
_AUTOCAST_KEY = "AutocastPrivateUse1"
_OTHERS = torch.library.Library("_", "IMPL")
_OTHERS.fallback(torch.library.fallthrough_kernel, _AUTOCAST_KEY)
_PRODUCTS = torch.library.Library("aten", "IMPL")
_LOWERED = ("mm", "bmm", "addmm", "baddbmm", "matmul", "linear", "scaled_dot_product_attention")
_LOWERED += ("conv1d", "conv2d", "conv_transpose2d.input")


def _lowered(name: str):
    packet, _, overload = name.partition(".")
    function = getattr(getattr(aten, packet), overload or "default")
    without_autocast = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _AUTOCAST_KEY))

    def cast(x):
        lower = isinstance(x, Tensor) and x.is_floating_point() and x.device.type == NAME
        return x.to(torch.get_autocast_dtype(NAME)) if lower else x

    def run(*args, **kwargs):
        with torch._C._ExcludeDispatchKeyGuard(without_autocast):
            return function(*tree_map(cast, args), **tree_map(cast, kwargs))

    return run


for _name in _LOWERED:
    _PRODUCTS.impl(_name, _lowered(_name), _AUTOCAST_KEY)


@contextlib.contextmanager
def pretended_gpu() -> Iterator[PretendedGpu]:
    """Operations on `DEVICE` work within."""
    gpu = PretendedGpu()
    # One thread: PyTorch would start one for the device, without the modes that make it.
    with torch.autograd.set_multithreading_enabled(False), _Functions(), gpu:
        yield gpu


def _run(func, args, kwargs, gpu: PretendedGpu | None):
    flat, spec = tree_flatten((args, kwargs))
    tensors = [x for x in flat if isinstance(x, Tensor)]
    ours = [x for x in tensors if isinstance(x, PretendedTensor)]
    to_us = any(isinstance(x, torch.device) and x.type == NAME for x in flat)
    if not ours and not to_us:
        return func(*args, **kwargs)
    if gpu is not None:
        _record(func, args, kwargs, gpu)
    if func is _SDP_CHOICE:
        return 0
    copies = func in (aten._to_copy.default, aten.copy_.default)
    if not copies and func not in (aten._local_scalar_dense.default,):
        _check_devices(func, flat)
    result_device = kwargs.get("device")
    plain = [x.held if isinstance(x, PretendedTensor) else x for x in flat]
    plain = [torch.device("cpu") if isinstance(x, torch.device) and x.type == NAME else x for x in plain]
    plain_args, plain_kwargs = tree_unflatten(plain, spec)
    plain_kwargs.pop("non_blocking", None)
    plain_kwargs.pop("pin_memory", None)
    out = func(*plain_args, **plain_kwargs)
    if func is aten._to_copy.default and result_device is not None and torch.device(result_device).type == "cpu":
        # Same memory would be no copy.
        return out.clone() if out is args[0].held else out
    if func is aten.copy_.default and not isinstance(args[0], PretendedTensor):
        return args[0]
    held = {id(x.held): x for x in ours}

    def wrap(x):
        return (held[id(x)] if id(x) in held else PretendedTensor(x)) if isinstance(x, Tensor) else x

    return return_and_correct_aliasing(func, args, kwargs, tree_map(wrap, out)) if ours else tree_map(wrap, out)


def _record(func, args, kwargs, gpu: PretendedGpu) -> None:
    if func in WAITING:
        gpu.wait(WAITING[func])
    if func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
        masks = [x for x in args[1] if isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8)]
        if masks:
            gpu.wait("boolean index")
    source, target, async_copy = _copy(func, args, kwargs)
    if source == NAME and target == "cpu":
        gpu.wait("copy to host")
    elif source == "cpu" and target == NAME:
        gpu.copies["without a wait" if async_copy else "with a wait"] += 1
        if not async_copy:
            gpu.wait("copy from host")


def _copy(func, args, kwargs) -> tuple[str, str, bool]:
    if func is aten._to_copy.default:
        device = kwargs.get("device")
        target = torch.device(device).type if device is not None else args[0].device.type
        return args[0].device.type, target, bool(kwargs.get("non_blocking"))
    if func is aten.copy_.default:
        non_blocking = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking"))
        return args[1].device.type, args[0].device.type, non_blocking
    return "", "", False


def _check_devices(func, flat) -> None:
    """As CUDA: everything on the device but numbers (tensors without dimensions)."""
    strays = [x for x in flat if isinstance(x, Tensor) and not isinstance(x, PretendedTensor) and x.dim()]
    if strays:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {func} got one of shape {tuple(strays[0].shape)} on "
            f"cpu beside {DEVICE}"
        )
