"""Which files of what a user names are predicted, where their results go, and what is left out."""

import hashlib
import mimetypes
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from physseg.data.images import IMAGE_EXTENSIONS
from physseg.inference.files import Job

VIDEO_EXTENSIONS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
# Pictures and videos of formats that are not read, besides those that `mimetypes` knows.
_OTHER_FORMATS = (
    *(".avif", ".heic", ".heif", ".jp2", ".j2k", ".jpx", ".jxl", ".jfif", ".jpe", ".exr", ".hdr", ".psd", ".tga"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw", ".pgm", ".pbm", ".pnm"),
    *(".ts", ".mts", ".wmv", ".flv", ".ogv", ".3gp"),
)
# A file name has room for 255 bytes; endings such as "_probabilities.npz" and a temporary name come to it.
_LONGEST_NAME = 180


class Found(NamedTuple):
    """jobs: what is predicted. left_out: what lies in the folders and is not, in words for a message."""

    jobs: list[Job]
    left_out: list[str]


def find_files(inputs: Iterable[str | os.PathLike], output: str | os.PathLike) -> Found:
    """Files and, recursively, the images and videos of folders, each with a target of its own.

    A folder's tree is repeated in the output folder. What lies in the output folder is left out, so that a second run
    does not take the first one's pictures as input. Files whose targets would be the same keep their ending in it.
    Very long names are shortened in the target.
    """
    output = Path(output)
    found: dict[Path, Path] = {}
    left_out: list[str] = []
    for entry in map(Path, inputs):
        if not entry.is_dir():
            found.setdefault(entry, output / entry.name)
            continue
        paths, unread = _images_and_videos(entry, output)
        left_out += unread
        for path in paths:
            found.setdefault(path, output / path.relative_to(entry))
    stems = Counter(target.with_suffix("") for target in found.values())
    taken: set[Path] = set()
    jobs = []
    for source, target in found.items():
        if stems[target.with_suffix("")] > 1:
            target = target.with_name(target.name.replace(".", "_"))
        else:
            target = target.with_suffix("")
        target = _shortened(target)
        while target in taken:  # files of one name from several folders
            target = target.with_name(target.name + "_")
        taken.add(target)
        jobs.append(Job(source, target))
    return Found(jobs, left_out)


def _images_and_videos(folder: Path, output: Path) -> tuple[list[Path], list[str]]:
    """Paths of a folder's tree in order, broken links and pipes among them: reading says what they are."""
    known = (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS)
    found: list[Path] = []
    others: Counter[str] = Counter()
    unread: list[str] = []

    def unreadable(error: OSError) -> None:
        unread.append(f"{error.filename}: {error.strerror}")

    excluded = output.resolve()
    for root, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if (Path(root) / name).resolve() != excluded]
        if Path(root).resolve() == excluded:
            continue
        for name in names:
            suffix = Path(name).suffix.lower()
            if suffix in known:
                found.append(Path(root) / name)
            elif _is_visual(name, suffix):
                others[suffix] += 1
    if others:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        unread.insert(0, f"{folder}: files of formats that are not read: {counts}; convert them to .png or .jpg")
    return sorted(found), unread


def _is_visual(name: str, suffix: str) -> bool:
    kind = mimetypes.guess_type(name)[0] or ""
    return suffix in _OTHER_FORMATS or kind.startswith(("image/", "video/"))


def _shortened(target: Path) -> Path:
    """The target with a name that leaves room for endings; a part of its hash keeps different names apart."""
    name = os.fsencode(target.name)
    if len(name) <= _LONGEST_NAME:
        return target
    digest = hashlib.sha256(name).hexdigest()[:10]
    return target.with_name(f"{name[: _LONGEST_NAME - 11].decode(errors='ignore')}~{digest}")


def is_video(job: Job) -> bool:
    """Whether a job's source is taken for a video, by its suffix."""
    return job.source.suffix.lower() in VIDEO_EXTENSIONS
