"""COCO's JSON: one region per name, as run-length-encoded mask."""

import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from physseg.inference.prediction import Prediction


def coco_record(prediction: Prediction) -> dict:
    """A COCO data set of one image, as `pycocotools.coco.COCO` loads it.

    Each name that occurs is one annotation: all its pixels, with ``category_name``, ``bbox`` (x, y, width, height),
    ``area`` in pixels and ``score``, the mean probability over the pixels. A category's id is its value in the label
    PNG.
    """
    height, width = prediction.labels.shape
    annotations = []
    for index in np.unique(prediction.labels).tolist():
        region = prediction.labels == index
        encoded = coco_mask.encode(np.asfortranarray(region, np.uint8))
        annotation = {
            "id": len(annotations) + 1,
            "image_id": 1,
            "category_id": index,
            "category_name": prediction.names[index],
            "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")},
            "bbox": [float(value) for value in coco_mask.toBbox(encoded)],
            "area": int(coco_mask.area(encoded)),
            "iscrowd": 0,
        }
        if prediction.scores is not None:
            annotation["score"] = round(float(prediction.scores[region].mean(dtype=np.float64)), 6)
        annotations.append(annotation)
    return {
        "info": {"description": "regions by name, predicted by physseg", "model": prediction.model},
        "images": [{"id": 1, "file_name": str(prediction.source), "height": height, "width": width}],
        "categories": [{"id": index, "name": name} for index, name in enumerate(prediction.names)],
        "annotations": annotations,
    }


def write_coco(target: Path, prediction: Prediction) -> None:
    """Write `coco_record`."""
    target.write_text(json.dumps(coco_record(prediction), ensure_ascii=False) + "\n", encoding="utf-8")
