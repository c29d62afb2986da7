"""Paths that users give, looked at before they are used: what stands in the way is said by its name.

A program looks at its inputs and outputs first, so that hours of work do not end at a folder that cannot be written.
"""

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_REASONS = {
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ELOOP: "symbolic links lead in a circle",
    errno.ENAMETOOLONG: "the name is too long for the file system",
}


def existing_file(path: str | os.PathLike, what: str = "file") -> Path:
    """The path of a regular file, ``~`` replaced, or an error that says what there is instead.

    Pipes and devices are refused: reading one may never end.

    Args:
        path: from the user.
        what: the noun for it in messages, such as "config file".

    Raises:
        FileNotFoundError: there is nothing, or nothing that the path can lead to.
        PermissionError: a folder on the way, or the file, may not be read.
        OSError: it is a folder, a pipe, a socket or a device.
    """
    path = _expanded(path, what)
    kind = _kind(path, what)
    if kind == "a folder":
        raise IsADirectoryError(f"{path} is a folder; expected a {what}")
    if kind:
        raise OSError(f"{path} is {kind}; expected a {what}: copy it into one first")
    if not os.access(path, os.R_OK):
        raise PermissionError(f"{path}: no permission to read this {what}")
    return path


def writable_folder(path: str | os.PathLike, what: str = "output folder") -> Path:
    """The path of a folder that new files can be written to; it is made if missing.

    Raises:
        OSError: it cannot be made or written to; the message says why.
    """
    path = _expanded(path, what)
    for part in (path, *path.parents):
        if part.exists() and not part.is_dir():
            raise NotADirectoryError(f"{what} {path}: {part} is a file, not a folder; give another path")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path, prefix=".physseg-"):
            pass
    except OSError as error:
        raise type(error)(f"{what} {path} cannot be written to: {reason(error)}; give another path") from error
    return path


def writable_file(path: str | os.PathLike, what: str = "output file") -> Path:
    """The path of a file that can be written: its folder is there or was made, and it is no folder itself.

    Raises:
        OSError: as `writable_folder`, or it is a folder.
    """
    path = _expanded(path, what)
    if path.is_dir():
        raise IsADirectoryError(f"{what} {path} is a folder; give the name of a file")
    writable_folder(path.parent, f"the folder of the {what}")
    return path


def special_kind(path: str | os.PathLike) -> str:
    """What a path that leads to no regular file leads to ("a folder", "a named pipe"); empty for a regular file.

    Raises:
        OSError: nothing can be found out: there is no such file, say.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return ""
    return "a folder" if stat.S_ISDIR(mode) else _KINDS.get(stat.S_IFMT(mode), "no file")


def same_file(first: str | os.PathLike, second: str | os.PathLike) -> bool:
    """Whether two paths lead to one file, by links or not; False where one is not there."""
    with contextlib.suppress(OSError):
        return os.path.samefile(first, second)
    return False


def reason(error: OSError) -> str:
    """Why an operation failed, without number and file name."""
    return _REASONS.get(error.errno) or error.strerror or str(error)


def _expanded(path: str | os.PathLike, what: str) -> Path:
    text = os.fspath(path)
    if not text:
        raise FileNotFoundError(f"no {what}: the path given is empty")
    if "\0" in text:
        raise FileNotFoundError(f"no {what} {text!r}: a path cannot hold a zero byte")
    try:
        path = Path(text).expanduser()
        path.is_dir()
    except RuntimeError as error:  # ~someone who has no home
        raise FileNotFoundError(f"no {what} {text}: {error}") from None
    except OSError as error:
        raise FileNotFoundError(f"no {what} {text}: {reason(error)}") from None
    return path


def _kind(path: Path, what: str) -> str:
    try:
        return special_kind(path)
    except PermissionError:
        raise PermissionError(f"{path}: no permission to look into its folder for this {what}") from None
    except OSError as error:
        if path.is_symlink():
            raise FileNotFoundError(
                f"no {what} {path}: it is a symbolic link to {os.readlink(path)}, which leads nowhere"
            ) from None
        why = _REASONS.get(error.errno)
        raise FileNotFoundError(f"no {what} {path}" + (f": {why}" if why else "")) from None
