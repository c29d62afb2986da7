"""PASCAL-Context 459: one MATLAB file per image, uint16 ``LabelMap`` with values 1..459 (0: none).

The list is ``pascalcontext_val.txt`` (of CAT-Seg's repository) where it lies beside the data, else the phase
"val" of ``trainval_merged.json``. Its names are held against the recorded hash of CAT-Seg's list.
"""

import logging
from pathlib import Path

import numpy as np
import scipy.io

from physseg.data.raw_formats import context59
from physseg.data.raw_formats.common import Job, MissingInputError, read_list, require_all, save_labels, to_train_ids
from physseg.data.specs import BenchmarkSpec, names_sha256

logger = logging.getLogger(__name__)


def plan(spec: BenchmarkSpec, root: Path) -> list[Job]:
    """One job per name of the list."""
    names = expected_names(spec, root, thorough=True)
    base = spec.base_path(root)
    if names is None:
        raise MissingInputError(
            f"missing the list of {spec.title}: neither {_list_path(spec, root)} nor {base / context59.JSON_NAME}; "
            "see datasets/README.md for where to get them"
        )
    if spec.list_sha256 and names_sha256(names) != spec.list_sha256:
        logger.warning(
            "the %d names of %s's list are not those behind CAT-Seg's published number (expected %d; SHA-256 differs)",
            len(names),
            spec.title,
            spec.num_images,
        )
    require_all(spec.images_path(root), names, spec.image_ext, "images")
    require_all(base / "trainval", names, ".mat", "label files")
    return [Job(name, str(base / "trainval" / f"{name}.mat")) for name in names]


def convert(job: Job, spec: BenchmarkSpec, root: Path) -> None:
    """Read ``LabelMap``, map it, write."""
    save_labels(job, to_train_ids(read_mat(job.source), spec, job.source), spec, root)


def read_mat(path: str | Path) -> np.ndarray:
    """``LabelMap`` of a file, uint16 (H, W).

    Raises:
        ValueError: the file is damaged, or has no ``LabelMap``.
    """
    try:
        content = scipy.io.loadmat(path, variable_names=["LabelMap"])
    except Exception as error:  # a damaged file can fail anywhere in the parser
        raise ValueError(f"cannot read {path}: {error}") from None
    if "LabelMap" not in content:
        raise ValueError(f"{path} has no LabelMap; expected a file of PASCAL-Context's trainval.tar.gz")
    return content["LabelMap"]


def expected_names(spec: BenchmarkSpec, root: Path, thorough: bool) -> list[str] | None:
    """The list's names."""
    path = _list_path(spec, root)
    if path.is_file():
        return read_list(path)
    return context59.expected_names(spec, root, thorough)


def _list_path(spec: BenchmarkSpec, root: Path) -> Path:
    return spec.base_path(root) / f"pascalcontext_{spec.split}.txt"
