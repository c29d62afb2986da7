"""Weight files on disk: read without running code, checked against their checksums, and told apart by content.

A file that `torch.save` writes is a zip archive with a CRC-32 of every record; `torch.load` does not look at them. Here
they are compared, so that a bit that a disk or a copy has flipped does not go unnoticed into predictions. That holds
for every file of that format, whoever wrote it, and costs about a third of the time that reading takes. safetensors has
no checksum: files that physseg writes carry one over names, types, shapes and values in their metadata.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from physseg.io import atomic_write
from physseg.paths import existing_file

_CHECKSUM = "crc32"


def read_file(path: str | os.PathLike) -> tuple[Any, dict[str, str]]:
    """Content of a .pth, .pt, .bin or .safetensors file, on the CPU, and safetensors' metadata.

    Raises:
        FileNotFoundError, OSError: as `existing_file`.
        ValueError: the file is damaged, cut short, or holds more than tensors, numbers, strings, lists and dicts.
    """
    path = existing_file(path, "weight file")
    try:
        if not path.stat().st_size:
            raise ValueError("the file is empty")
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        _compare_checksums(path)
        return torch.load(path, map_location="cpu", weights_only=True), {}
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError ... for one and the same damage
        raise ValueError(
            f"Cannot read weights from {path}: it is damaged, cut short, or no file of plain tensors "
            f"({type(error).__name__}: {_reason(error)}). "
            "Files that need arbitrary pickled code are refused."
        ) from error


def _reason(error: Exception) -> str:
    # Of an unpickling error, what follows torch's advice to run arbitrary code.
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    return text.splitlines()[0] if text else "no details"


def write_file(path: str | os.PathLike, content: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write weights at once, or not at all; the suffix chooses the format.

    Args:
        path: .safetensors, or any other for PyTorch's format.
        content: what `read_checkpoint` returns; for safetensors its ``model`` alone is written.
        metadata: of a safetensors file.

    Raises:
        OSError: the file cannot be written, the disk being full among others.
    """
    with atomic_write(path) as temporary:
        if Path(path).suffix == ".safetensors":
            tensors = {name: value.contiguous().clone() for name, value in content["model"].items()}
            save_file(tensors, temporary, {**(metadata or {}), _CHECKSUM: checksum(tensors)})
            return
        try:
            torch.save(dict(content), temporary)
        except RuntimeError as error:  # how torch's zip writer reports a full disk
            raise OSError(f"cannot write {path}: {str(error).splitlines()[0]}; is the disk full?") from error


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """CRC-32, in hex, of tensors with their names, types and shapes."""
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        value = zlib.crc32(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode(), value)
        value = zlib.crc32(tensor.flatten().view(torch.uint8).numpy(), value)
    return f"{value:08x}"


def describe(content: Any) -> str:
    """What a file holds, for a message: "a list of 3", "an optimizer's state", "text", "a dict of epoch (int), ..."."""
    if content is None:
        return "None"
    if isinstance(content, Tensor):
        return f"one tensor of shape {tuple(content.shape)}"
    if isinstance(content, str):
        return "text"
    if isinstance(content, list | tuple | set):
        return f"a {type(content).__name__} of {len(content)}"
    if not isinstance(content, Mapping):
        return f"a value of type {type(content).__name__}"
    if not content:
        return "an empty dict"
    if {"state", "param_groups"} <= content.keys():
        return "an optimizer's state"
    shown = [f"{name} ({type(value).__name__})" for name, value in list(content.items())[:6]]
    return f"a dict of {', '.join(shown)}{', ...' if len(content) > 6 else ''}"


def _compare_checksums(path: Path) -> None:
    """Read every record of a zip archive and compare its CRC-32; another format has none.

    Raises:
        ValueError, zipfile.BadZipFile: a record is damaged.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        # torch.serialization.set_crc32_options(False) leaves zeros.
        if all(entry.CRC == 0 for entry in archive.infolist() if entry.file_size):
            return
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of its record {damaged} is not that of its content")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        metadata = dict(file.metadata() or {})
    if _CHECKSUM in metadata and metadata[_CHECKSUM] != checksum(tensors):
        raise ValueError("its checksum is not that of its content")
    return tensors, metadata
