"""Writing files so that a reader never meets half of one.

Everything goes to a temporary file in the same folder first and is renamed over the target: after a crash,
a full disk or Ctrl-C the target is either the old file or the complete new one.
"""

import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on a clean exit it replaces ``path``, on an error it is removed.

    The temporary name keeps the suffix of ``path``, since image writers choose the format by it. Missing
    parent folders are made.

    Example::

        with atomic_write("out/label.png") as temporary:
            Image.fromarray(labels).save(temporary)

    Raises:
        FileNotFoundError: the block removed the temporary file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In bytes: a name of 100 characters may have 400 of them, and 255 is what file systems take.
    stem = os.fsencode(path.stem)[:100].decode(errors="ignore")
    handle, name = tempfile.mkstemp(prefix=f".{stem}.", suffix=".tmp" + path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes the file private to the user; a data set is as readable as any other new file.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Write ``data`` to ``path``."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_text_atomic(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8."""
    write_bytes_atomic(path, text.encode("utf-8"))


def save_image(image: Image.Image, path: str | os.PathLike, **options: Any) -> None:
    """Encode a Pillow image in the format of the suffix, and write it; for the block of `atomic_write`.

    Pillow's own JPEG writer takes half a write for a whole one: on a disk that fills up the picture would be cut off
    without a word.

    Raises:
        OSError: it could not be written whole.
    """
    path = Path(path)
    encoded = io.BytesIO()
    image.save(encoded, format=Image.registered_extensions()[path.suffix.lower()], **options)
    path.write_bytes(encoded.getbuffer())


def write_json_atomic(path: str | os.PathLike, value: Any, indent: int | None = 2) -> None:
    """Write ``value`` to ``path`` as JSON with a final newline."""
    write_text_atomic(path, json.dumps(value, indent=indent) + "\n")


def _umask() -> int:
    # The umask can only be read by setting it; Linux also shows it without that race between threads.
    with contextlib.suppress(OSError, StopIteration), open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("Umask:")).split()[1], 8)
    current = os.umask(0)
    os.umask(current)
    return current
