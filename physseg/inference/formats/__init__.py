"""What a prediction can be written as. One row per format; a command line names them.

H, W: an image's height and width. T: names in the vocabulary.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from physseg.inference.formats.coco import write_coco
from physseg.inference.formats.geojson import check_rasterio, write_geojson
from physseg.inference.formats.label_png import write_label_png
from physseg.inference.prediction import Prediction, shares
from physseg.io import atomic_write, save_image
from physseg.visualization import overlay


@dataclass(frozen=True)
class Format:
    """ending: of the file, after the target's name. write: (path, prediction). content: what it holds, in words.

    probabilities: it needs all of them, (T, H, W).
    """

    ending: str
    write: Callable[[Path, Prediction], None]
    content: str
    probabilities: bool = False


def _write_labels(path: Path, prediction: Prediction) -> None:
    write_label_png(path, prediction.labels, prediction.names, prediction.model)


def _write_summary(path: Path, prediction: Prediction) -> None:
    height, width = prediction.labels.shape
    record = {
        "image": str(prediction.source),
        "height": height,
        "width": width,
        "model": prediction.model,
        "names": list(prediction.names),
        "share": shares(prediction.labels, prediction.names),
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _write_probabilities(path: Path, prediction: Prediction) -> None:
    names = np.array(prediction.names[: len(prediction.probabilities)])
    np.savez(path, probabilities=prediction.probabilities, names=names)


FORMATS = {
    "labels": Format("_labels.png", _write_labels, "label PNG: a palette up to 256 names, 16 bit above"),
    "json": Format(".json", _write_summary, "names in the labels' order, share of the pixels of each"),
    "coco": Format("_coco.json", write_coco, "COCO JSON: a run-length-encoded region per name, with score"),
    "geojson": Format("_polygons.geojson", write_geojson, "a polygon per connected region"),
    "npz": Format("_probabilities.npz", _write_probabilities, "float32 probabilities of all names", probabilities=True),
}
"""All but the overlay, whose look has options of its own."""

OVERLAY = "overlay"
DEFAULT_FORMATS = (OVERLAY, "labels", "json")


def check_formats(names: Iterable[str]) -> None:
    """See before any work whether the formats can be written.

    Raises:
        ValueError: an unknown format. ImportError: one whose extra is not installed.
    """
    for name in names:
        if name != OVERLAY and name not in FORMATS:
            raise ValueError(f"--format: expected one of {', '.join((OVERLAY, *FORMATS))}, got {name!r}")
        if name == "geojson":
            check_rasterio("--format geojson")


def write_format(name: str, target: Path, prediction: Prediction) -> Path:
    """Write one of `FORMATS` at once, to `target` with the format's ending; returns the path."""
    form = FORMATS[name]
    path = target.with_name(target.name + form.ending)
    with atomic_write(path) as temporary:
        form.write(temporary, prediction)
    return path


def write_overlay(target: Path, prediction: Prediction, alpha: float, ending: str) -> Path:
    """Write ``TARGET_overlay.jpg`` or ``.png``: the picture with coloured regions and a legend."""
    path = target.with_name(f"{target.name}_overlay.{ending}")
    with atomic_write(path) as temporary:
        picture = overlay(prediction.image, prediction.labels, prediction.names, alpha)
        save_image(Image.fromarray(picture), temporary, quality=92)
    return path
