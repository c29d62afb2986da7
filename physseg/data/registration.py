"""Enter the data sets into Detectron2's catalogs."""

import difflib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from physseg.data.specs import BenchmarkSpec, all_specs, datasets_root

logger = logging.getLogger(__name__)

# What this module entered, by registered name: image and label folder.
_registered: dict[str, tuple[str, str]] = {}


def register_all(root: str | os.PathLike | None = None) -> None:
    """Register every spec under ``root`` (default: $DETECTRON2_DATASETS, or ``datasets``).

    Calling it again changes nothing, or moves this package's own entries when the root differs. A name that
    another package (CAT-Seg has the same ones) holds stays its own; only metadata it lacks is added.
    """
    for spec in all_specs():
        register(spec, root)


def register(spec: BenchmarkSpec, root: str | os.PathLike | None = None) -> None:
    """Register one spec; see ``register_all``."""
    base = datasets_root(root)
    register_folders(
        spec.registered_name,
        str(base / spec.image_root),
        str(base / spec.label_root),
        (spec.image_ext,),
        (spec.label_ext,),
        prepare=spec.prepare_command,
        stuff_classes=list(spec.classes),
        vocabulary=list(spec.vocabulary),
        ignore_label=spec.ignore_label,
        evaluator_type=spec.evaluator_type,
        background=spec.background,
    )


def register_folders(
    name: str,
    image_root: str,
    label_root: str,
    image_extensions: tuple[str, ...],
    label_extensions: tuple[str, ...],
    prepare: str,
    **metadata,
) -> None:
    """Register pairs of images and label maps under ``name``. ``prepare`` tells the user how to make them."""
    metadata |= {"image_root": image_root, "sem_seg_root": label_root}
    if name in DatasetCatalog and name not in _registered:
        logger.debug("data set %s is already registered by another package; it is left as it is", name)
        entry = MetadataCatalog.get(name)
        for key, value in metadata.items():
            if not hasattr(entry, key):
                entry.set(**{key: value})
        return
    if name in _registered:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(
        name, lambda: load_records(image_root, label_root, image_extensions, label_extensions, prepare)
    )
    MetadataCatalog.get(name).set(**metadata)
    _registered[name] = (image_root, label_root)


def check_registered(names: Sequence[str], source: str) -> None:
    """Check that data sets of these registered names are known, before Detectron2's catalogs are asked.

    Raises:
        ValueError: one is not, and the message says where the name stands and which are near; or there is no name.
    """
    known = list(DatasetCatalog)
    if not names:
        raise ValueError(f"{source} names no data set; there are {', '.join(known[:12])}")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or [spec.registered_name for spec in all_specs()]
            raise ValueError(f"{source}: no data set {name!r} is registered; there are {', '.join(near[:12])}")


def unregister_all() -> None:
    """Remove this package's entries, for instance before importing another package with the same names."""
    for name in list(_registered):
        del _registered[name]
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def load_records(
    image_root: str,
    label_root: str,
    image_extensions: tuple[str, ...],
    label_extensions: tuple[str, ...],
    prepare: str = "see datasets/README.md",
) -> list[dict[str, str]]:
    """One record per label map, sorted by name: ``{"file_name", "sem_seg_file_name"}``.

    Images without a label map are left out: VOC's image folder holds far more than the labelled ones.

    Raises:
        FileNotFoundError: a folder is missing, there is no label map, or a label map has no image.
    """
    images = files_by_stem(image_root, image_extensions, "images", prepare)
    labels = files_by_stem(label_root, label_extensions, "label maps", prepare)
    if not labels:
        raise FileNotFoundError(f"no label maps ({', '.join(label_extensions)}) in {label_root}; make them: {prepare}")
    missing = sorted(set(labels) - set(images))
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(labels)} label maps in {label_root} have no image in {image_root}: "
            f"{', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}; expected {'/'.join(image_extensions)}"
        )
    return [
        {
            "file_name": os.path.join(image_root, images[stem]),
            "sem_seg_file_name": os.path.join(label_root, labels[stem]),
        }
        for stem in sorted(labels)
    ]


def files_by_stem(folder: str | os.PathLike, extensions: tuple[str, ...], what: str, prepare: str) -> dict[str, str]:
    """File names in ``folder`` by stem. Hidden files (temporary ones among them) do not count.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: two files share a stem.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"no folder of {what} {os.path.abspath(folder)}; put the data there or set DETECTRON2_DATASETS; "
            f"make it: {prepare}"
        )
    found: dict[str, str] = {}
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    for name in names:
        path = Path(name)
        if path.suffix.lower() not in extensions:
            continue
        if path.stem in found:
            raise ValueError(f"two {what} of the same name in {folder}: {found[path.stem]} and {name}; keep one")
        found[path.stem] = name
    return found
