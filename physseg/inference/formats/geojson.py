"""GeoJSON: every connected region as a polygon, for maps and for drawing tools."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from physseg.inference.prediction import Prediction


def check_rasterio(purpose: str) -> None:
    """Raise ImportError that says what rasterio is needed for and how to get it, unless it is there."""
    try:
        import rasterio  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(f'{purpose} needs rasterio: pip install "physseg[geo]"') from error


def write_geojson(target: Path, prediction: Prediction) -> None:
    """Write the regions of a picture as polygons in pixels, x to the right and y down, corners of pixels whole numbers.

    A region is a connected set of pixels of one name; pixels that touch by a corner alone are two regions. Its
    properties are ``name``, ``label`` (value in the label PNG), ``area`` in pixels and ``score``, the mean probability.

    Raises:
        ImportError: the extra "geo" is not installed.
    """
    check_rasterio("--format geojson")
    from rasterio.features import shapes

    regions = _connected(prediction.labels)
    area = np.bincount(regions.ravel())
    total = None if prediction.scores is None else np.bincount(regions.ravel(), prediction.scores.ravel())
    first = np.unique(regions, return_index=True)[1]

    def features() -> Iterator[dict]:
        for geometry, value in shapes(regions, connectivity=4):
            region = int(value)
            label = int(prediction.labels.flat[first[region]])
            properties = {"name": prediction.names[label], "label": label, "area": int(area[region])}
            if total is not None:
                properties["score"] = round(float(total[region] / area[region]), 6)
            yield {"type": "Feature", "properties": properties, "geometry": geometry}

    with open(target, "w", encoding="utf-8") as file:
        write_collection(file, features(), {"coordinates": "pixels", "model": prediction.model})


def write_collection(file, features: Iterable[dict], members: dict) -> None:
    """Write a FeatureCollection one feature at a time, with more members of its own."""
    head = json.dumps({"type": "FeatureCollection"} | members, ensure_ascii=False)
    file.write(head[:-1] + ', "features": [')
    for index, feature in enumerate(features):
        file.write((",\n" if index else "\n") + json.dumps(feature, ensure_ascii=False))
    file.write("\n]}\n")


def _connected(labels: np.ndarray) -> np.ndarray:
    """int32 (H, W): a number for each connected region of one label."""
    regions = np.zeros(labels.shape, np.int32)
    count = 0
    for value in np.unique(labels):
        found, numbered = cv2.connectedComponents((labels == value).astype(np.uint8), connectivity=4)
        inside = numbered > 0
        regions[inside] = numbered[inside] + (count - 1)
        count += found - 1
    return regions
