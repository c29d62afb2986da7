"""One's own data: a folder of images, a folder of label maps, and a list of names, registered from YAML.

``DATASETS.CUSTOM`` is a list. An entry is a mapping, or the path of a YAML file that holds one:

    name: my_train            # for DATASETS.TRAIN / DATASETS.TEST
    images: data/images       # any of .jpg .png .webp .tif ...
    labels: data/labels       # index images of the same stems: value k is class k; 8 or 16 bit
    classes: data/names.txt   # one per line in the order of the values, or a YAML list
    ignore_label: 255         # value of unlabelled pixels; default 255
    vocabulary: data/words.txt  # prompts, if other than the classes; same number, same order
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from physseg.data.entries import Entry, declared_entries
from physseg.data.images import IMAGE_EXTENSIONS, LABEL_EXTENSIONS
from physseg.data.registration import register_folders
from physseg.data.specs import find_spec
from physseg.data.vocabularies import check_vocabulary, get_vocabulary

_REQUIRED = ("name", "images", "labels", "classes")
_OPTIONAL = ("ignore_label", "vocabulary")
_TEXT = ("name", "images", "labels")


@dataclass(frozen=True)
class CustomDataset:
    """A user's own data set; see the module's text."""

    name: str
    images: str
    labels: str
    classes: tuple[str, ...]
    vocabulary: tuple[str, ...]
    ignore_label: int = 255


def register_custom(cfg: CfgNode) -> list[CustomDataset]:
    """Register every entry of DATASETS.CUSTOM. Calling it again is harmless.

    Raises:
        ValueError: an entry is wrong; the message names it and the field.
        FileNotFoundError: the file of an entry is missing.
    """
    datasets = read_custom(cfg.DATASETS.CUSTOM)
    for dataset in datasets:
        register_folders(
            dataset.name,
            dataset.images,
            dataset.labels,
            IMAGE_EXTENSIONS,
            LABEL_EXTENSIONS,
            prepare="see docs/own_data.md",
            stuff_classes=list(dataset.classes),
            vocabulary=list(dataset.vocabulary),
            ignore_label=dataset.ignore_label,
            evaluator_type="sem_seg",
        )
    return datasets


def read_custom(entries: Sequence[Mapping | str]) -> list[CustomDataset]:
    """Check and read the entries of DATASETS.CUSTOM.

    Raises:
        ValueError, FileNotFoundError: as ``register_custom``.
    """
    if isinstance(entries, (str, Mapping)):
        entries = [entries]
    return [_dataset(entry) for entry in declared_entries("DATASETS.CUSTOM", entries, _REQUIRED, _OPTIONAL, _TEXT)]


def _dataset(entry: Entry) -> CustomDataset:
    where, name = entry.where, entry.name
    if find_spec(name):
        raise ValueError(f"{where}: name {name!r} belongs to a benchmark; choose another")

    classes = _names(entry.fields["classes"], entry.folder, f"{where}: classes")
    vocabulary = _names(entry.fields.get("vocabulary") or classes, entry.folder, f"{where}: vocabulary")
    if len(vocabulary) != len(classes):
        raise ValueError(f"{where}: vocabulary has {len(vocabulary)} names, classes {len(classes)}; expected as many")
    ignore_label = entry.fields.get("ignore_label", 255)
    if isinstance(ignore_label, bool) or not isinstance(ignore_label, int):
        raise ValueError(f"{where}: ignore_label must be an integer, got {ignore_label!r}")
    if not 0 <= ignore_label <= 65535:
        raise ValueError(f"{where}: ignore_label must be a value of 8 or 16 bits, got {ignore_label}")
    if 0 <= ignore_label < len(classes):
        raise ValueError(
            f"{where}: ignore_label {ignore_label} is the index of class {classes[ignore_label]!r}; with more than 255 "
            "classes use 16-bit label maps and 65535"
        )
    # Whether they are there is asked when they are used: a trained model needs the names alone.
    images, labels = entry.path("images"), entry.path("labels")
    return CustomDataset(name, images, labels, tuple(classes), tuple(vocabulary), ignore_label)


def _names(value: Any, base: Path, where: str) -> list[str]:
    if isinstance(value, list | tuple):
        return check_vocabulary(list(value), where)
    if not isinstance(value, str):
        raise ValueError(f"{where}: expected a list of names, or a file of them; got {value!r}")
    path = base / Path(value).expanduser()
    # A relative path belongs to the file that names it; anything else may be a benchmark's vocabulary.
    return get_vocabulary(str(path) if path.is_file() else value)
