"""Make Detectron2 0.6 run on today's Pillow and NumPy. Import this before anything of Detectron2.

Detectron2 as of 2022 uses names that Pillow 10 (`Image.LINEAR`) and NumPy 1.24 (`np.int`, `np.float`, `np.bool`, ...)
removed, and `np.array(..., copy=False)`, which NumPy 2 gave another meaning. Its sources of today call themselves 0.6
too, so the version number cannot tell: the installed files are asked whether they use the old forms. Where they do
not, nothing is touched. Pillow and NumPy themselves stay as they are: an old form exists only for the modules of
Detectron2 that need it. What PyTorch has deprecated still works; its warnings of Detectron2's and fvcore's use, four
lines at the start of every process, are left out.

Raises:
    ImportError: on import, if Detectron2 is not installed; the message says how to get it.
"""

import importlib
import re
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import PIL.Image

# What NumPy's removed aliases meant: Python's own types (NumPy 1.20 release notes).
_NUMPY_ALIASES = {"bool": bool, "float": float, "int": int, "object": object, "str": str}
# The modules of Detectron2 0.6 that use old forms, all inside functions: their `np` may be replaced after import.
_NUMPY_USERS = (
    "data.build",
    "data.datasets.pascal_voc",
    "evaluation.pascal_voc_evaluation",
    "evaluation.sem_seg_evaluation",
    "layers.mask_ops",
    "structures.masks",
    "utils.video_visualizer",
    "utils.visualizer",
)


def _import_detectron2() -> types.ModuleType:
    try:
        return importlib.import_module("detectron2")
    except ModuleNotFoundError as error:
        if error.name != "detectron2":
            raise
        raise ImportError(
            f"physseg needs Detectron2, which is not installed for {sys.executable}. It has no release on PyPI: run "
            "`python tools/install_detectron2.py` in physseg's source folder (no compiler and no GPU needed), or "
            "install it from its sources. See docs/installation.md."
        ) from error


class _OldNumPy(types.ModuleType):
    """NumPy as one old module expects it: everything of NumPy, and the old forms set on the instance."""

    def __getattr__(self, name: str):
        return getattr(np, name)


def _array(data, dtype=None, *, copy: bool = True, **options) -> np.ndarray:
    """`np.array` as before NumPy 2: copy=False means to copy only if needed."""
    return np.array(data, dtype=dtype, copy=copy or None, **options)


def _source(root: Path, module: str) -> str:
    """Text of a Detectron2 module given by its dotted name; empty if this Detectron2 does not have it."""
    path = root.joinpath(*module.split(".")).with_suffix(".py")
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _bring_back_pillow_linear(root: Path) -> None:
    # Used once, as a default argument: the name is needed while the module is imported and not later.
    if hasattr(PIL.Image, "LINEAR") or "Image.LINEAR" not in _source(root, "data.transforms.transform"):
        return
    PIL.Image.LINEAR = PIL.Image.BILINEAR
    try:
        importlib.import_module("detectron2.data.transforms")
    finally:
        del PIL.Image.LINEAR


def _bring_back_old_numpy(root: Path) -> None:
    missing = {name: kind for name, kind in _NUMPY_ALIASES.items() if name not in vars(np)}
    if not missing:
        return
    old_form = re.compile(rf"\bnp\.({'|'.join(missing)})\b|\bnp\.array\(.*\bcopy=")
    old_numpy = _OldNumPy("numpy", "NumPy with what Detectron2 0.6 expects of it.")
    vars(old_numpy).update(missing)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        old_numpy.array = _array
    for name in _NUMPY_USERS:
        if old_form.search(_source(root, name)):
            importlib.import_module(f"detectron2.{name}").np = old_numpy


warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
warnings.filterwarnings("ignore", module=r"(detectron2|fvcore)\.", category=FutureWarning)
_detectron2 = _import_detectron2()
_root = Path(_detectron2.__file__).parent
_bring_back_pillow_linear(_root)
_bring_back_old_numpy(_root)
