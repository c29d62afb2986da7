"""An answer as the page's viewer takes it: pictures as data URIs, so that no file of it lies on the server.

H, W: the picture's height and width; h, w: as shown.
"""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from physseg.inference.formats.coco import coco_record
from physseg.inference.formats.label_png import write_label_png
from physseg.inference.prediction import Prediction, shares
from physseg.inference.web.session import Answer, Session
from physseg.visualization import palette

SIDE = 1024
"""Longest side of a picture as shown; files to download have its own size."""
OTHER = "other"


def view(session: Session, answer: Answer, threshold: float) -> dict:
    """The viewer's value.

    ``image``: JPEG (h, w). ``map``: PNG (h, w) whose red is a pixel's label and whose green its probability in 255ths.
    ``words``: name, colour and share of the pixels of each, in the labels' order. ``labels``, ``json``: files to
    download. ``time``: in words.

    Args:
        threshold: pixels less sure than that are "other", 0 to 1.
    """
    names, labels = list(answer.words), answer.labels
    if threshold > 0:
        labels = np.where(answer.scores < threshold, len(names), labels)
        names.append(OTHER if OTHER not in names else f"({OTHER})")
    prediction = Prediction(Path(session.name), session.image, labels, names, answer.scores, model=answer.model)
    share = shares(labels, names)
    colours = palette(len(names)).tolist()
    size = _shown(labels.shape)
    return {
        "image": _uri(Image.fromarray(session.image).resize(size, Image.BILINEAR), "jpeg", quality=88),
        "map": _uri(Image.fromarray(_map(labels, answer.scores)).resize(size, Image.NEAREST), "png"),
        "words": [
            {"name": name, "colour": colours[index], "share": share.get(name, 0.0)} for index, name in enumerate(names)
        ],
        "model": answer.model,
        "time": _time(answer),
        "stem": Path(session.name).stem,
        "labels": _label_file(prediction),
        "json": _json_file(prediction, threshold, share),
    }


def _shown(shape: tuple[int, int]) -> tuple[int, int]:
    """(w, h)"""
    scale = min(1.0, SIDE / max(shape))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _map(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    values = np.zeros((*labels.shape, 3), np.uint8)
    values[..., 0] = labels
    values[..., 1] = (scores * 255).round()
    return values


def _label_file(prediction: Prediction) -> str:
    data = io.BytesIO()
    write_label_png(data, prediction.labels, prediction.names, prediction.model)
    return _encode(data.getvalue(), "image/png")


def _json_file(prediction: Prediction, threshold: float, share: dict[str, float]) -> str:
    record = coco_record(prediction) | {"threshold": threshold, "share": share}
    return _encode(json.dumps(record, ensure_ascii=False, indent=1).encode("utf-8"), "application/json")


def _time(answer: Answer) -> str:
    kept = "picture kept" if answer.encoding is None else f"picture {1000 * answer.encoding:.0f} ms"
    return f"{kept}, words {1000 * answer.naming:.0f} ms"


def _uri(picture: Image.Image, kind: str, **options) -> str:
    data = io.BytesIO()
    picture.save(data, format=kind.upper(), **options)
    return _encode(data.getvalue(), f"image/{kind}")


def _encode(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
