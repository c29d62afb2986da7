"""Load a pickle that may hold plain containers, numbers, strings and NumPy arrays, and nothing that runs code."""

import os
import pickle
from typing import Any

# Names the pickles of NumPy 1 and 2 refer to; protocol 2 writes bytes by way of _codecs.encode.
_ALLOWED = {
    ("_codecs", "encode"),
    ("builtins", "set"),
    ("__builtin__", "set"),
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
}


class _AllowListUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not on the allow-list")
        return super().find_class(module.replace("numpy.core", "numpy._core") if _new_numpy() else module, name)


def _new_numpy() -> bool:
    import numpy

    return int(numpy.__version__.split(".")[0]) >= 2


def load_allowed(path: str | os.PathLike) -> Any:
    """Content of a pickle file.

    Raises:
        ValueError: the file is damaged, or refers to anything but plain data.
    """
    try:
        with open(path, "rb") as file:
            return _AllowListUnpickler(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"cannot load {path}: {error}. Expected ADE20K's index_ade20k.pkl of plain data; a file that refers to "
            "anything else could run code and is refused"
        ) from None
