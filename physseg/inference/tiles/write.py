"""Labels of a large picture in formats that can be written by rows.

H, W: the picture's height and width.
"""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from physseg.inference.files import Job, OutputOptions
from physseg.inference.formats import FORMATS, OVERLAY
from physseg.inference.formats.geojson import write_collection
from physseg.inference.formats.label_png import MODEL_KEY, NAMES_KEY
from physseg.inference.prediction import shares_of_counts
from physseg.inference.tiles.raster import Raster
from physseg.inference.tiles.stack import write_stack
from physseg.inference.tiles.state import TileState
from physseg.io import atomic_write, save_image, write_json_atomic
from physseg.visualization import overlay, palette

TIFF = "_labels.tif"
STACK = "vrt"
TILE_FORMATS = (OVERLAY, "labels", "json", "geojson", STACK)
_BLOCK = 256
_OVERVIEW = 2048
_WGS84 = "EPSG:4326"


def write_tiled(job: Job, raster: Raster, state: TileState, names: Sequence[str], options: OutputOptions) -> None:
    """Write what the options ask for: ``TARGET_labels.tif``, an overlay of 2,048 pixels at most, ``TARGET.json``,
    polygons, and ``TARGET_bands.vrt``.
    """
    target = job.target.with_name(job.target.name + TIFF)
    with atomic_write(target if "labels" in options.formats else state.folder / "labels.tif") as temporary:
        write_label_tiff(temporary, raster, state, names, options.model)
        # From the finished file before it gets its name: if one of these fails, nothing looks done.
        for name in options.formats:
            if name != "labels":
                _WRITERS[name](job, raster, state, names, options, temporary)


def write_label_tiff(path: Path, raster: Raster, state: TileState, names: Sequence[str], model: str) -> None:
    """A GeoTIFF of the labels: the picture's place on earth, colours, names, and a value for no data.

    One band, deflated blocks of 256 pixels, 8 bit up to 255 names, else 16. The value for no data is 255 or 65535.
    """
    import rasterio
    from rasterio.windows import Window

    height, width = state.shape
    source = raster.dataset
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": 1,
        "dtype": state.dtype.name,
        "nodata": int(np.iinfo(state.dtype).max),
        "crs": source.crs,
        "transform": source.transform,
        "compress": "deflate",
        "predictor": 1,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "BIGTIFF": "IF_SAFER",
    }
    with _quiet(), rasterio.open(path, "w", **profile) as file:
        if source.gcps[0]:
            file.gcps = source.gcps
        file.set_band_description(1, "label")
        file.update_tags(**{NAMES_KEY: json.dumps(list(names), ensure_ascii=False), MODEL_KEY: model})
        if state.dtype == np.uint8:
            file.write_colormap(1, {i: (*map(int, colour), 255) for i, colour in enumerate(palette(len(names)))})
        for top in range(0, height, _BLOCK):
            rows = state.read(top, min(top + _BLOCK, height))
            file.write(rows, 1, window=Window(0, top, width, len(rows)))


def _write_overlay(job: Job, raster: Raster, state: TileState, names, options: OutputOptions, labels: Path) -> None:
    import rasterio

    scale = min(1.0, _OVERVIEW / max(state.shape))
    size = tuple(max(1, round(length * scale)) for length in state.shape)
    image, _ = raster.read_reduced(*size)
    with _quiet(), rasterio.open(labels) as file:
        reduced = file.read(1, out_shape=size).astype(np.int64)
    path = job.target.with_name(f"{job.target.name}_overlay.{options.picture}")
    with atomic_write(path) as temporary:
        save_image(Image.fromarray(overlay(image, reduced, names, options.alpha)), temporary, quality=92)


def _write_summary(job: Job, raster: Raster, state: TileState, names, options: OutputOptions, labels: Path) -> None:
    height, width = state.shape
    record = {
        "image": str(job.source),
        "height": height,
        "width": width,
        "model": options.model,
        "names": list(names),
        "share": shares_of_counts(state.counts, names),
        "score": {n: round(float(s / c), 6) for n, s, c in zip(names, state.scores, state.counts, strict=True) if c},
        "no_data": 1 - float(state.counts.sum()) / (height * width),
        "bands": list(raster.bands),
        "value_range": raster.value_range,
    }
    write_json_atomic(job.target.with_name(job.target.name + FORMATS["json"].ending), record)


def _write_polygons(job: Job, raster: Raster, state: TileState, names, options: OutputOptions, labels: Path) -> None:
    """Polygons in WGS 84, as GeoJSON wants them, where the picture has a place on earth, else in pixels."""
    import rasterio
    from rasterio.features import shapes
    from rasterio.warp import transform_geom

    source = raster.dataset
    members = {"coordinates": _WGS84 if source.crs else "pixels", "model": options.model}

    def features() -> Iterator[dict]:
        with rasterio.open(labels) as file:
            for geometry, value in shapes(rasterio.band(file, 1), connectivity=4):
                label = int(value)
                if label == file.nodata:
                    continue
                # rasterio gives a band's shapes where they lie on the map.
                area = round(_area(geometry) / abs(file.transform.determinant))
                properties = {"name": names[label], "label": label, "area": area}
                if source.crs:
                    geometry = transform_geom(source.crs, _WGS84, geometry)
                yield {"type": "Feature", "properties": properties, "geometry": geometry}

    path = job.target.with_name(job.target.name + FORMATS["geojson"].ending)
    with _quiet(), atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        write_collection(file, features(), members)


def _write_stack(job: Job, raster: Raster, state: TileState, names, options: OutputOptions, labels: Path) -> None:
    with _quiet(), atomic_write(job.target.with_name(f"{job.target.name}_bands.vrt")) as temporary:
        write_stack(temporary, raster, labels, job.target.name + TIFF)


def _area(geometry: dict) -> float:
    """Area of a polygon in its own units: the shoelace formula, holes taken off."""
    areas = []
    for ring in geometry["coordinates"]:
        x, y = (np.array(ring) - ring[0]).T
        areas.append(abs(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2)
    return areas[0] - sum(areas[1:])


@contextmanager
def _quiet() -> Iterator[None]:
    """A picture without a place on earth is nothing to warn of."""
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


_WRITERS: dict[str, Callable[..., None]] = {
    OVERLAY: _write_overlay,
    "json": _write_summary,
    "geojson": _write_polygons,
    STACK: _write_stack,
}
