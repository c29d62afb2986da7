"""Fetch and unpack the archives that have a plain URL; say the steps for the others.

A download goes to ``NAME.part`` and continues there after a break (HTTP Range). It gets its name once its
length, and its checksum where one is known, are right.
"""

import hashlib
import logging
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from physseg.data.specs import BenchmarkSpec

logger = logging.getLogger(__name__)

_CHUNK = 1 << 20
# Archives of a data set lie here, under the data root, until they are unpacked.
ARCHIVE_FOLDER = "archives"
# Unpacked data take about as much room again; image archives hardly compress.
_ROOM_FACTOR = 2


class Archive(NamedTuple):
    """A file to fetch. ``unpack_to``: folder under the data root; ``marker``: path under the data root that is
    there once it was unpacked; ``md5``: empty if none is known. Not an archive by its suffix: it is moved there.
    """

    url: str
    unpack_to: str
    marker: str
    md5: str = ""


# URLs as the data sets' own pages give them; VOC's checksums as torchvision's.
_STUFFTHINGMAPS = Archive(
    "http://calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset/stuffthingmaps_trainval2017.zip",
    "coco-stuff/annotations",
    "coco-stuff/annotations/train2017",
)
_VOC2012 = Archive(
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
    "",
    "VOCdevkit/VOC2012/SegmentationClass",
    "6cd6e144f989b92b3379bac3b3de84fd",
)
_VOC2010 = Archive(
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar",
    "",
    "VOCdevkit/VOC2010/JPEGImages",
    "da459979d0c395079b5c75ee67908abb",
)
_CONTEXT_JSON = Archive(
    "https://codalabuser.blob.core.windows.net/public/trainval_merged.json",
    "VOCdevkit/VOC2010",
    "VOCdevkit/VOC2010/trainval_merged.json",
)
ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "coco_stuff": (
        Archive("http://images.cocodataset.org/zips/train2017.zip", "coco-stuff/images", "coco-stuff/images/train2017"),
        _STUFFTHINGMAPS,
    ),
    "coco_stuff_val": (
        Archive("http://images.cocodataset.org/zips/val2017.zip", "coco-stuff/images", "coco-stuff/images/val2017"),
        _STUFFTHINGMAPS,
    ),
    "a150": (
        Archive(
            "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            "",
            "ADEChallengeData2016/annotations",
        ),
    ),
    "pas20": (_VOC2012,),
    "pas20b": (_VOC2012,),
    "voc21": (_VOC2012,),
    "pc60": (_VOC2010, _CONTEXT_JSON),
    "pc59": (_VOC2010, _CONTEXT_JSON),
    "pc459": (
        _VOC2010,
        _CONTEXT_JSON,
        Archive(
            "https://cs.stanford.edu/~roozbeh/pascal-context/trainval.tar.gz",
            "VOCdevkit/VOC2010",
            "VOCdevkit/VOC2010/trainval",
        ),
    ),
}
ARCHIVES["coco_object"] = ARCHIVES["coco_stuff_val"]
"""By spec key. A-847 and Cityscapes have no plain URL."""

_COCO_STEP = "unpack {} into coco-stuff/images/ and stuffthingmaps_trainval2017.zip into coco-stuff/annotations/"
_VOC_STEP = "unpack VOCtrainval_{}.tar into the data root; it holds VOCdevkit/VOC{}/"
_STEPS: dict[str, tuple[str, ...]] = {
    "coco_stuff": (_COCO_STEP.format("train2017.zip"),),
    "coco_stuff_val": (_COCO_STEP.format("val2017.zip"),),
    "a847": (
        "register at https://groups.csail.mit.edu/vision/datasets/ADE20K/request_data/ and accept the terms",
        "unpack the archive that the e-mail links to, so that ADE20K_2021_17_01/ lies under the data root",
    ),
    "a150": ("unpack ADEChallengeData2016.zip into the data root",),
    "pc59": (
        _VOC_STEP.format("03-May-2010", "2010"),
        "put trainval_merged.json of the PASCAL in Detail API into VOCdevkit/VOC2010/",
    ),
    "pc459": (
        _VOC_STEP.format("03-May-2010", "2010"),
        "unpack trainval.tar.gz of the PASCAL-Context page into VOCdevkit/VOC2010/",
        "put pascalcontext_val.txt of CAT-Seg's repository, or trainval_merged.json, into VOCdevkit/VOC2010/",
    ),
    "pas20": (_VOC_STEP.format("11-May-2012", "2012"),),
    "pas20b": (_VOC_STEP.format("11-May-2012", "2012"),),
    "voc21": (_VOC_STEP.format("11-May-2012", "2012"),),
    "cityscapes": (
        "register at https://www.cityscapes-dataset.com and accept the terms",
        "unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip into cityscapes/",
    ),
}
_STEPS["pc60"], _STEPS["coco_object"] = _STEPS["pc59"], _STEPS["coco_stuff_val"]


class DownloadError(OSError):
    """A file could not be fetched or unpacked. The message says which, and what to do."""


def manual_steps(spec: BenchmarkSpec) -> list[str]:
    """What a person has to do to have the raw data of ``spec`` in place, a line each."""
    if spec.is_toy:
        return ["make the toy world first: python tools/make_toy_world.py"]
    urls = [archive.url for archive in _archives(spec)]
    return [*_STEPS[spec.key], *(f"from {url}" for url in urls)]


def _archives(spec: BenchmarkSpec) -> tuple[Archive, ...]:
    return ARCHIVES.get(spec.key, ())


def download_archives(specs: Sequence[BenchmarkSpec], root: Path) -> None:
    """Fetch and unpack the archives of ``specs`` whose content is not there yet.

    Raises:
        DownloadError: an archive has no plain URL, cannot be fetched, is damaged, or there is no room for it.
    """
    archives = list(dict.fromkeys(archive for spec in specs for archive in _archives(spec)))
    if not archives:
        steps = "\n  ".join(step for spec in specs for step in manual_steps(spec))
        raise DownloadError(f"there is nothing to download by URL; do this instead:\n  {steps}")
    for archive in archives:
        # An archive that is still there was not unpacked to the end.
        if (root / archive.marker).exists() and not _archive_path(archive, root).exists():
            logger.info("%s is there; %s is not fetched", archive.marker, archive.url)
            continue
        fetch_and_unpack(archive, root)


def fetch_and_unpack(archive: Archive, root: Path) -> None:
    """Fetch one archive, unpack it below ``root``, and remove it.

    Raises:
        DownloadError: as ``download``, or the archive is damaged.
    """
    path = download(archive.url, _archive_path(archive, root), archive.md5)
    target = root / archive.unpack_to
    target.mkdir(parents=True, exist_ok=True)
    unpack(path, target)
    path.unlink(missing_ok=True)


def _archive_path(archive: Archive, root: Path) -> Path:
    return root / ARCHIVE_FOLDER / archive.url.rsplit("/", 1)[-1]


def download(url: str, path: Path, md5: str = "") -> Path:
    """Fetch ``url`` to ``path``, continuing ``path + ".part"`` if there is one. A finished ``path`` is kept.

    Raises:
        DownloadError: the server refuses or breaks off, there is no room, or length or checksum is wrong.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            if response.status != 206:
                have = 0  # the server sends the whole file again
            length = response.headers.get("Content-Length")
            total = have + int(length) if length else None
            _require_room(path, url, total, have)
            _receive(response, part, have, total, path.name)
    except urllib.error.HTTPError as error:
        # 416: the part is already as long as the file.
        if error.code != 416 or not have:
            raise DownloadError(f"cannot fetch {url}: {error}; fetch it by hand, see datasets/README.md") from None
        total = have
    except (OSError, ValueError) as error:
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(f"cannot fetch {url}: {error}; run the same command again to continue") from None
    size = part.stat().st_size
    if total is not None and size != total:
        raise DownloadError(f"{url}: got {size} of {total} bytes; run the same command again to continue")
    if md5 and file_md5(part) != md5:
        part.unlink()
        raise DownloadError(f"{url}: the MD5 is not {md5}; the damaged file was removed, run the command again")
    part.replace(path)
    return path


def _receive(response, part: Path, have: int, total: int | None, name: str) -> None:
    with (
        open(part, "ab" if have else "wb") as file,
        tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name) as bar,
    ):
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            bar.update(len(chunk))


def _require_room(path: Path, url: str, total: int | None, have: int) -> None:
    if total is None:
        return
    needed = total * _ROOM_FACTOR - have
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise DownloadError(
            f"{url} takes {total / 1e9:.1f} GB and unpacking as much again, but {path.parent} has {free / 1e9:.1f} GB "
            "free; make room or choose another --root"
        )


def file_md5(path: Path) -> str:
    """MD5 of a file in hexadecimal; the data sets' publishers give no better checksum."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def unpack(path: Path, folder: Path) -> None:
    """Unpack a zip or tar file below ``folder``; any other file is moved there.

    Raises:
        DownloadError: the archive is damaged, or a member would land outside ``folder``.
    """
    logger.info("unpacking %s to %s", path.name, folder)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if not (folder / member).resolve().is_relative_to(folder.resolve()):
                        raise DownloadError(f"{path}: member {member!r} lies outside the archive; nothing was unpacked")
                archive.extractall(folder)
        elif path.name.endswith((".tar", ".tar.gz", ".tgz")):
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
        elif path.suffix == ".zip":
            raise zipfile.BadZipFile("not a zip file")
        else:
            shutil.move(path, folder / path.name)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise DownloadError(f"{path} is damaged ({error}); remove it and run the command again") from None
