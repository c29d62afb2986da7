"""One run at a time in a folder: a second one is refused and told of the first.

The operating system holds the lock (flock) and drops it when its process ends, however it ends, so that nothing is
left to clean up after a crash. ``.lock`` in the folder says who holds it. On file systems without such locks that file
decides alone: a process of this machine that no longer runs has lost its lock.
"""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from detectron2.utils import comm

LOCK = ".lock"
# Workers of a killed run hold its lock until they notice (`physseg.signals`).
_WORKERS_SECONDS = 5.0
_held: set[Path] = set()


class FolderInUseError(OSError):
    """Another run works in the folder. The message names it."""


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike) -> Iterator[None]:
    """Keep other runs out of ``folder``, which is made if it is missing, during the block.

    Called in all processes of a run: the main one holds the lock. A process that holds it already may take it again.

    Raises:
        FolderInUseError: in all processes, if another run holds it.
    """
    folder = Path(folder).resolve()
    with contextlib.ExitStack() as stack:
        error = ""
        if comm.is_main_process() and folder not in _held:
            try:
                stack.enter_context(_locked(folder))
            except FolderInUseError as refusal:
                error = str(refusal)
        error = comm.all_gather(error)[0]
        if error:
            raise FolderInUseError(error)
        yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, "a+") as file:
        end = time.monotonic() + _WORKERS_SECONDS
        while not _taken(file):
            holder = _holder(file)
            if _runs(holder) or time.monotonic() > end:
                raise FolderInUseError(
                    f"{folder} is in use by another run: {_described(holder)}. Wait for it, stop it, or give another "
                    f"folder.{_if_stale(holder, folder)}"
                )
            time.sleep(0.1)
        since = datetime.datetime.now().isoformat(" ", "seconds")
        own = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        file.truncate(0)
        file.write(json.dumps(own))
        file.flush()
        _held.add(folder)
        try:
            yield
        finally:
            _held.discard(folder)
            file.truncate(0)
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)


def _taken(file) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        return not _runs(_holder(file))
    return True


def _holder(file) -> dict:
    file.seek(0)
    try:
        return dict(json.loads(file.read()))
    except ValueError:
        return {}


def _runs(holder: dict) -> bool:
    """Whether the holder still runs, as far as can be known: a process of another machine is taken to."""
    if not holder:
        return False
    if holder.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _described(holder: dict) -> str:
    if not holder:
        return "its process is not known"
    return f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}"


def _if_stale(holder: dict, folder: Path) -> str:
    # Whether a process of another machine still runs cannot be seen from here.
    if holder.get("host") in (None, socket.gethostname()):
        return ""
    return f" If it no longer runs on {holder['host']}, remove {folder / LOCK}."
