"""Pictures read by windows, through rasterio: GeoTIFF and whatever else its GDAL opens (TIFF, PNG, JPEG, JPEG 2000).

H, W: the picture's height and width. h, w: a window's.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from physseg.data.images import BrokenFileError
from physseg.inference.formats.geojson import check_rasterio

PERCENTILES = (2, 98)
"""Values of other than 8 bit are stretched so that these become black and white, unless a range is given."""

_SAMPLE = 1024
# Blocks of the file that are kept: neighbouring windows share them. In MB.
_CACHE = 256


class Raster:
    """An open picture; a context manager.

    Args:
        path: of the file.
        bands: numbers of the bands taken for red, green and blue, from 1; default: those the file calls so, else the
            first three, or the only one.
        value_range: values that become 0 and 255, for other than 8 bit.

    Attributes:
        height, width. bands: as used. value_range: (low, high) per band, None for 8 bit. dataset: rasterio's.

    Raises:
        ImportError: the extra "geo" is not installed.
        FileNotFoundError, BrokenFileError: no such file, or none that GDAL opens.
        ValueError: bands that the file does not have.
    """

    def __init__(
        self, path: Path, bands: Sequence[int] | None = None, value_range: tuple[float, float] | None = None
    ) -> None:
        check_rasterio("--tile")
        import rasterio

        if not Path(path).exists():
            raise FileNotFoundError(f"no image {path}")
        self.path = Path(path)
        self._env = rasterio.Env(GDAL_CACHEMAX=_CACHE)
        self._env.__enter__()
        try:
            with warnings.catch_warnings():
                # A picture without a place on earth is nothing to warn of.
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                self.dataset = rasterio.open(path)
        except rasterio.errors.RasterioIOError as error:
            self._env.__exit__(None, None, None)
            raise BrokenFileError(f"cannot read image {path}: {error}") from error
        try:
            self._prepare(bands, value_range)
        except BaseException:
            self.close()
            raise

    def _prepare(self, bands: Sequence[int] | None, value_range: tuple[float, float] | None) -> None:
        dataset = self.dataset
        self.height, self.width = dataset.height, dataset.width
        orientation = dataset.tags().get("EXIF_Orientation", "1").split()[0]
        if orientation != "1":
            raise BrokenFileError(
                f"{self.path} is to be turned when shown (EXIF orientation {orientation}), which is not done by "
                "windows: store it upright first"
            )
        self._colours = None
        if bands is None and dataset.colorinterp[0].name == "palette":
            self._colours = np.zeros((256, 3), np.uint8)
            for value, colour in dataset.colormap(1).items():
                self._colours[value] = colour[:3]
        self.bands = tuple(bands or _usual_bands(dataset))
        if any(not 1 <= band <= dataset.count for band in self.bands) or len(self.bands) not in (1, 3):
            raise ValueError(
                f"{self.path}: expected one or three bands from 1 to {dataset.count}, got {list(self.bands)}"
            )
        self.value_range = None
        if dataset.dtypes[self.bands[0] - 1] != "uint8":
            self.value_range = [tuple(map(float, value_range))] * len(self.bands) if value_range else self._stretch()

    def read(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """A window: uint8 (h, w, 3) RGB, and bool (h, w): where the picture has data.

        Raises:
            BrokenFileError: the file is damaged there.
        """
        from rasterio.windows import Window

        window = Window.from_slices(rows, columns)
        return self._read(window=window)

    def read_reduced(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The whole picture at a smaller size, as `read`."""
        return self._read(out_shape=(height, width))

    def _read(self, **where) -> tuple[np.ndarray, np.ndarray]:
        import rasterio

        try:
            values = self.dataset.read(self.bands, **_per_band(where, len(self.bands)))
            valid = self.dataset.dataset_mask(**where) > 0
        except rasterio.errors.RasterioIOError as error:
            raise BrokenFileError(f"cannot read image {self.path}: {error.__cause__ or error}") from error
        if self._colours is not None:
            return self._colours[values[0]], valid
        if self.value_range is not None:
            values = values.astype(np.float32)
            valid = valid & np.isfinite(values).all(axis=0)
            low, high = np.array(self.value_range, np.float32).T[..., None, None]
            values = np.nan_to_num((values - low) / np.maximum(high - low, 1e-12)).clip(0, 1) * 255
            values = values.round().astype(np.uint8)
        image = np.moveaxis(values, 0, 2)
        return np.ascontiguousarray(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image), valid

    def _stretch(self) -> list[tuple[float, float]]:
        """`PERCENTILES` of every band over the picture at a reduced size."""
        scale = min(1.0, _SAMPLE / max(self.height, self.width))
        shape = (max(1, round(self.height * scale)), max(1, round(self.width * scale)))
        values = self.dataset.read(self.bands, out_shape=(len(self.bands), *shape)).astype(np.float64)
        valid = (self.dataset.dataset_mask(out_shape=shape) > 0) & np.isfinite(values).all(axis=0)
        if not valid.any():
            return [(0.0, 1.0)] * len(self.bands)
        return [tuple(float(v) for v in np.percentile(band[valid], PERCENTILES)) for band in values]

    def close(self) -> None:
        self.dataset.close()
        self._env.__exit__(None, None, None)

    def __enter__(self) -> "Raster":
        return self

    def __exit__(self, *error) -> None:
        self.close()


def _usual_bands(dataset) -> tuple[int, ...]:
    names = [colour.name for colour in dataset.colorinterp]
    if all(name in names for name in ("red", "green", "blue")):
        return tuple(names.index(name) + 1 for name in ("red", "green", "blue"))
    return (1, 2, 3) if dataset.count >= 3 else (1,)


def _per_band(where: dict, bands: int) -> dict:
    """rasterio wants the number of bands in the shape of an array of several."""
    return {key: (bands, *value) if key == "out_shape" else value for key, value in where.items()}
