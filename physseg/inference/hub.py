"""A file of a model hub, fetched once and kept: one download for many processes, resumed, checked, used offline.

``$PHYSSEG_HOME/models/NAME/`` (default ``~/.cache/physseg``) holds ``weights.safetensors`` and ``record.json``, which
says where they come from and the SHA-256 of both files. The record is written last: where it is, the rest is complete.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from filelock import FileLock, Timeout
from huggingface_hub.file_download import http_get
from safetensors.torch import save_file
from torch import Tensor

from physseg.io import atomic_write, write_json_atomic

logger = logging.getLogger(__name__)

WEIGHTS, RECORD = "weights.safetensors", "record.json"
_SHA256_DIGITS = 64
# Left free on the disk beyond the files themselves.
_SPARE = 256 << 20


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the Hugging Face Hub, or on a server that HF_ENDPOINT names.

    kind: "model", "dataset" or "space".
    """

    repository: str
    file: str
    kind: str = "model"
    revision: str = "main"

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return huggingface_hub.hf_hub_url(self.repository, self.file, repo_type=self.kind, revision=self.revision)


class DamagedFileError(ValueError):
    """A kept or fetched file is not the one it was."""


def home() -> Path:
    """Folder of everything that physseg keeps between runs: $PHYSSEG_HOME, else ``physseg`` in the user's cache."""
    if given := os.environ.get("PHYSSEG_HOME"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "physseg"


def fetch_weights(name: str, source: HubFile, read: Callable[[Path], dict[str, Tensor]], advice: str = "") -> Path:
    """Path of a model's weights as safetensors; the first call on a machine fetches and converts them.

    Processes that call at the same time wait for the one that came first. A download that was cut off goes on where it
    stopped. A file that somebody put at the place that the error message names is taken instead of a download.

    Args:
        name: of the model, and of its folder.
        read: path of the published file -> the state dict to keep; ValueError where it holds no such weights.
        advice: last sentence of the message where the file cannot be had.

    Raises:
        ConnectionError: no network; names the file and the place to put it.
        DamagedFileError: a checksum differs, or `read` refused the file.
        OSError: no room on the disk, or the folder cannot be written.
    """
    folder = home() / "models" / name
    if not (folder / RECORD).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder, name):
            if not (folder / RECORD).is_file():
                _fetch(name, source, read, folder, advice)
    return _checked(folder)


def _fetch(name: str, source: HubFile, read: Callable, folder: Path, advice: str) -> None:
    place = folder / Path(source.file).name
    fetched, commit = (None, "") if place.is_file() else _download(source, place, advice)
    published = fetched or place
    try:
        state_dict = read(published)
    except ValueError as error:
        raise DamagedFileError(f"{error}\nRemove {published} and fetch it again.") from error
    record = {
        "model": name,
        "source": {
            **{"repository": source.repository, "kind": source.kind, "file": source.file, "commit": commit},
            **{"url": source.url, "sha256": file_sha256(published), "bytes": published.stat().st_size},
        },
    }
    _write(state_dict, folder / WEIGHTS)
    record |= {"sha256": file_sha256(folder / WEIGHTS), "bytes": (folder / WEIGHTS).stat().st_size}
    write_json_atomic(folder / RECORD, record)
    if fetched:  # what somebody put there is theirs
        fetched.unlink()


def _download(source: HubFile, place: Path, advice: str) -> tuple[Path, str]:
    """Fetch a file to a part whose name tells its content; returns the complete part and the commit it is of."""
    try:
        found = huggingface_hub.get_hf_file_metadata(source.url, token=False)
    except Exception as error:  # the kinds differ between releases of huggingface_hub and its HTTP library
        raise _unreachable(error, source, place, advice) from error
    etag, size = found.etag or "unknown", found.size
    part = place.with_name(f"part-{etag[:16]}-{place.name}")
    for old in place.parent.glob(f"part-*-{place.name}"):  # of a file that the hub no longer has, or too long
        if old != part or (size and old.stat().st_size > size):
            old.unlink()
    have = part.stat().st_size if part.exists() else 0
    if size:
        _require_room(place.parent, size, have)
    logger.warning("Fetching %s to %s, once%s.", source.url, place.parent, f"; {have} bytes are there" if have else "")
    try:
        with open(part, "ab") as file:
            http_get(found.location, file, resume_size=have, expected_size=size, displayed_filename=place.name)
            file.flush()
            os.fsync(file.fileno())
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise _unreachable(error, source, place, f"{advice} The same command goes on from here.") from error
    # Of large files the hub's etag is the content's SHA-256.
    if len(etag) == _SHA256_DIGITS and (got := file_sha256(part)) != etag:
        part.unlink()
        raise DamagedFileError(
            f"{source.url}: fetched a file of SHA-256 {got}, expected {etag}. It was removed; run the command again."
        )
    return part, found.commit_hash or ""


def _checked(folder: Path) -> Path:
    """The kept weights, after comparing them with their record."""
    record = json.loads((folder / RECORD).read_text())
    weights = folder / WEIGHTS
    got = file_sha256(weights) if weights.is_file() else "none, the file is missing"
    if got != record["sha256"]:
        raise DamagedFileError(
            f"{weights} is not the file that was kept: SHA-256 {got}, expected {record['sha256']}. Remove the folder "
            f"{folder} to fetch the model again."
        )
    return weights


def _write(state_dict: dict[str, Tensor], path: Path) -> None:
    with atomic_write(path) as temporary:
        save_file({name: value.contiguous() for name, value in state_dict.items()}, temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())


@contextlib.contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Hold a folder's lock; a process that has to wait says so. The system frees it when its holder dies."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.warning("%s: another process is fetching it; waiting.", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _require_room(folder: Path, size: int, have: int) -> None:
    needed = 2 * size - have + _SPARE  # the file and its converted form
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder} has {free / 1e9:.1f} GB free, and {needed / 1e9:.1f} GB are needed for the file and its "
            "converted form: make room, or set PHYSSEG_HOME to a folder elsewhere"
        )


def _unreachable(error: Exception, source: HubFile, place: Path, advice: str) -> ConnectionError:
    return ConnectionError(
        f"Cannot fetch {source.url} ({_short(error)})\n"
        f"Without a network, fetch that file elsewhere and put it, as it is, at\n    {place}\n{advice}".rstrip()
    )


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no details'}"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(view):
            digest.update(view[:count])
    return digest.hexdigest()
