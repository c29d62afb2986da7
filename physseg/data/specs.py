"""The one table of benchmarks: names, folders, counts, label values, vocabulary, protocol.

Registration, preparation, verification, evaluation and the documents read it. To add a benchmark, add a
vocabulary file and a row to ``_REAL_ROWS``; a new raw format also needs a module in ``raw_formats``.

Folders and registered names are those of CAT-Seg, so that data prepared for either serves both.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from physseg.data.vocabularies import LabelRow, load_label_table
from physseg.toy_world.vocabularies import BACKGROUND_VOCABULARIES as TOY_BACKGROUND
from physseg.toy_world.vocabularies import VOCABULARIES as TOY_VOCABULARIES

REAL = ("a847", "pc459", "a150", "pc59", "pas20", "pas20b")
"""Keys of the six benchmarks in the paper's column order."""
TOY = tuple(f"toy_{key}" for key in REAL)
"""Their toy counterparts."""
CLIP_ALONE = ("voc21", "pc60", "coco_object", "pas20", "cityscapes", "pc59", "a150", "coco_stuff_val")
"""Keys of the benchmarks of training-free methods in that literature's column order."""
TOY_CLIP_ALONE = ("toy_voc21", "toy_coco_object")
"""Their toy counterparts, where `TOY` has none."""
TOY_FOLDER = "toy_world"


@dataclass(frozen=True)
class BenchmarkSpec:
    """One data set, split included.

    key: short name, used on command lines. title: as papers print it. registered_name: in Detectron2's
    catalogs. raw_format: module of ``physseg.data.raw_formats``. base: folder of the raw data set under the
    data root. image_root, label_root: folders of prepared images and label maps, under the data root.
    image_ext, label_ext: with the dot. num_images: expected number of label maps. ignore_label: value of
    unlabelled pixels in them. raw_ids: raw value of each class in train_id order. raw_maximum: largest legal
    raw value, ``raw_void`` excepted; None: any. classes: evaluated class names. vocabulary: prompts given to
    the model. fold_from: after argmax, indices >= this become this; None: no folding. background: the class that
    raw values without a class belong to and, after argmax, pixels whose probability is below
    TEST.BACKGROUND_THRESHOLD; None: no such class. split: folder or list name in the raw data set.
    evaluator_type: as CAT-Seg's metadata has it. list_sha256: hash of the sorted image names, one per line; None:
    not recorded. script: preparation script under ``datasets/``.
    """

    key: str
    title: str
    registered_name: str
    raw_format: str
    base: str
    image_root: str
    label_root: str
    image_ext: str
    label_ext: str
    num_images: int
    ignore_label: int
    raw_ids: tuple[int, ...]
    raw_maximum: int | None
    raw_void: tuple[int, ...]
    classes: tuple[str, ...]
    vocabulary: tuple[str, ...]
    split: str
    script: str
    fold_from: int | None = None
    background: int | None = None
    evaluator_type: str = "sem_seg"
    list_sha256: str | None = None

    def images_path(self, root: str | os.PathLike | None = None) -> Path:
        """Folder of the images under the data root (``datasets_root()`` when None)."""
        return datasets_root(root) / self.image_root

    def labels_path(self, root: str | os.PathLike | None = None) -> Path:
        """Folder of the prepared label maps under the data root."""
        return datasets_root(root) / self.label_root

    def base_path(self, root: str | os.PathLike | None = None) -> Path:
        """Folder of the raw data set under the data root."""
        return datasets_root(root) / self.base

    @property
    def is_toy(self) -> bool:
        return self.key.startswith("toy_")

    @property
    def prepare_command(self) -> str:
        """The command a user runs to prepare this data set."""
        return f"python datasets/{self.script}" + (" --toy" if self.is_toy else "")


def datasets_root(root: str | os.PathLike | None = None) -> Path:
    """``root``, or $DETECTRON2_DATASETS, or ``datasets`` in the working folder; ``~`` is expanded."""
    if root is None:
        root = os.environ.get("DETECTRON2_DATASETS") or "datasets"
    return Path(root).expanduser()


def names_sha256(names: Sequence[str]) -> str:
    """Hash of a list of image names, whatever its order: SHA-256 of the sorted names, a newline after each."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


_COCO = dict(
    raw_format="coco_stuff", base="coco-stuff", image_ext=".jpg", label_ext=".png", ignore_label=255,
    raw_maximum=181, raw_void=(255,), table="coco_stuff", script="prepare_coco_stuff.py",
)  # fmt: skip
_VOC = dict(
    raw_format="voc", base="VOCdevkit/VOC2012", image_root="JPEGImages", image_ext=".jpg", label_ext=".png",
    num_images=1449, ignore_label=255, raw_maximum=20, split="val", script="prepare_voc.py",
)  # fmt: skip
_CONTEXT = dict(
    base="VOCdevkit/VOC2010", image_root="JPEGImages", image_ext=".jpg", num_images=5104, split="val", raw_void=(),
)  # fmt: skip

# image_root and label_root are relative to base here. "table" and "prompts" name vocabulary files.
_REAL_ROWS: tuple[dict, ...] = (
    dict(
        key="coco_stuff", title="COCO-Stuff", registered_name="coco_2017_train_stuff_all_sem_seg", split="train2017",
        image_root="images/train2017", label_root="annotations_detectron2/train2017", num_images=118287, **_COCO,
    ),
    dict(
        key="coco_stuff_val", title="COCO-Stuff val", registered_name="coco_2017_test_stuff_all_sem_seg",
        split="val2017", image_root="images/val2017", label_root="annotations_detectron2/val2017", num_images=5000,
        **_COCO,
    ),
    dict(
        key="a847", title="A-847", registered_name="ade20k_full_sem_seg_freq_val_all", raw_format="ade_full",
        base="ADE20K_2021_17_01", image_root="images_detectron2/validation", image_ext=".jpg",
        label_root="annotations_detectron2/validation", label_ext=".tif", num_images=2000, ignore_label=65535,
        raw_maximum=None, raw_void=(), split="val", table="a847", script="prepare_ade20k_full.py",
    ),
    dict(
        key="pc459", title="PC-459", registered_name="context_459_test_sem_seg", raw_format="context459",
        label_root="annotations_detectron2/pc459_val", label_ext=".tif", ignore_label=65535, raw_maximum=459,
        list_sha256="b9924d222e8429efb4c8677e5ab5f84ad1374ecbff34980afa7f121bcf42b891",
        table="pc459", script="prepare_pascal_context_459.py", **_CONTEXT,
    ),
    dict(
        key="a150", title="A-150", registered_name="ade20k_150_test_sem_seg", raw_format="ade150",
        base="ADEChallengeData2016", image_root="images/validation", image_ext=".jpg",
        label_root="annotations_detectron2/validation", label_ext=".png", num_images=2000, ignore_label=255,
        raw_maximum=150, raw_void=(), split="validation", table="a150", script="prepare_ade20k_150.py",
    ),
    dict(
        key="pc59", title="PC-59", registered_name="context_59_test_sem_seg", raw_format="context59",
        label_root="annotations_detectron2/pc59_val", label_ext=".png", ignore_label=255, raw_maximum=None,
        table="pc59", script="prepare_pascal_context_59.py", **_CONTEXT,
    ),
    dict(
        key="pas20", title="PAS-20", registered_name="voc_2012_test_sem_seg", raw_void=(0, 255), table="pas20",
        label_root="annotations_detectron2/val", **_VOC,
    ),
    dict(
        key="pas20b", title="PAS-20b", registered_name="voc_2012_test_background_sem_seg", raw_void=(255,),
        label_root="annotations_detectron2_bg/val", table="pas20b", prompts="pas20b_prompts", fold_from=20,
        evaluator_type="sem_seg_background", **_VOC,
    ),
    dict(
        key="voc21", title="VOC-21", registered_name="voc_2012_test_21_sem_seg", raw_void=(255,), background=0,
        label_root="annotations_detectron2_21/val", table="voc21", prompts="voc21_prompts", **_VOC,
    ),
    dict(
        key="pc60", title="Context-60", registered_name="context_60_test_sem_seg", raw_format="context59",
        label_root="annotations_detectron2/pc60_val", label_ext=".png", ignore_label=255, raw_maximum=None,
        table="pc60", background=0, script="prepare_pascal_context_59.py", **_CONTEXT,
    ),
    dict(
        key="coco_object", title="COCO-Object", registered_name="coco_2017_test_object_sem_seg", split="val2017",
        image_root="images/val2017", label_root="annotations_detectron2_object/val2017", num_images=5000,
        background=0, prompts="coco_object_prompts", **(_COCO | {"raw_void": (), "table": "coco_object"}),
    ),
    dict(
        key="cityscapes", title="Cityscapes-19", registered_name="cityscapes_19_test_sem_seg",
        raw_format="cityscapes", base="cityscapes", image_root="images_detectron2/val", image_ext=".png",
        label_root="annotations_detectron2/val", label_ext=".png", num_images=500, ignore_label=255, raw_maximum=33,
        raw_void=(), split="val", table="cityscapes", script="prepare_cityscapes.py",
    ),
)  # fmt: skip

_TOY_REGISTERED = {
    "coco_stuff": "toy_coco_stuff_train_sem_seg",
    "coco_stuff_val": "toy_coco_stuff_val_sem_seg",
    "a847": "toy_ade20k_full_val_sem_seg",
    "pc459": "toy_context_459_val_sem_seg",
    "a150": "toy_ade20k_150_val_sem_seg",
    "pc59": "toy_context_59_val_sem_seg",
    "pas20": "toy_voc_20_val_sem_seg",
    "pas20b": "toy_voc_20b_val_sem_seg",
    "voc21": "toy_voc_21_val_sem_seg",
    "coco_object": "toy_coco_object_val_sem_seg",
}


def _real_spec(row: dict) -> BenchmarkSpec:
    row = dict(row)
    rows = load_label_table(row.pop("table"))
    prompts = load_label_table(row.pop("prompts")) if "prompts" in row else rows
    for folder in ("image_root", "label_root"):
        row[folder] = f"{row['base']}/{row[folder]}"
    return BenchmarkSpec(
        raw_ids=tuple(r.raw_id for r in rows),
        classes=tuple(r.title for r in rows),
        vocabulary=tuple(r.title for r in prompts),
        **row,
    )


def _toy_spec(real: BenchmarkSpec) -> BenchmarkSpec:
    """The toy data set laid out as ``real``: its folders under ``toy_world/``, its own label table and counts."""
    toy = (TOY_VOCABULARIES | TOY_BACKGROUND)["toy_" + real.key.removesuffix("_val")]
    rows = [LabelRow(*row) for row in toy.rows]
    names = tuple(row.name for row in rows)
    if toy.fold_from is not None:
        rows = [*rows[: toy.fold_from], LabelRow(toy.fold_from, 0, "background")]
    return replace(
        real,
        key=f"toy_{real.key}",
        title=f"toy {real.title}",
        registered_name=_TOY_REGISTERED[real.key],
        base=f"{TOY_FOLDER}/{real.base}",
        image_root=f"{TOY_FOLDER}/{real.image_root}",
        label_root=f"{TOY_FOLDER}/{real.label_root}",
        num_images=toy.num_train if real.key == "coco_stuff" else toy.num_val,
        raw_ids=tuple(row.raw_id for row in rows),
        classes=tuple(row.name for row in rows),
        vocabulary=(toy.background, *names[1:]) if toy.background else names,
        fold_from=toy.fold_from,
        list_sha256=None,
    )


@lru_cache(maxsize=1)
def all_specs() -> tuple[BenchmarkSpec, ...]:
    """Every data set: training sets, then benchmarks; real, then toy."""
    real = tuple(_real_spec(row) for row in _REAL_ROWS)
    return real + tuple(_toy_spec(spec) for spec in real if spec.key in _TOY_REGISTERED)


def find_spec(key_or_registered_name: str) -> BenchmarkSpec | None:
    """The spec by key ("a847") or registered name, or None (a user's own data set has none)."""
    for spec in all_specs():
        if key_or_registered_name in (spec.key, spec.registered_name):
            return spec
    return None


def get_spec(key_or_registered_name: str) -> BenchmarkSpec:
    """The spec by key or registered name.

    Raises:
        KeyError: there is none; the message lists the keys.
    """
    spec = find_spec(key_or_registered_name)
    if spec is None:
        keys = ", ".join(spec.key for spec in all_specs())
        raise KeyError(f"no data set {key_or_registered_name!r}; expected a registered name or one of {keys}")
    return spec


def get_specs(keys: Sequence[str]) -> tuple[BenchmarkSpec, ...]:
    """``get_spec`` of each."""
    return tuple(get_spec(key) for key in keys)
