"""A picture of any size through a predictor, by windows.

H, W: the picture's height and width. T: names in the vocabulary.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from physseg.inference.files import Job, OutputOptions
from physseg.inference.formats.geojson import check_rasterio
from physseg.inference.predictor import Predictor
from physseg.inference.tiles.blend import Strip, blend_row
from physseg.inference.tiles.plan import Span, plan_axis
from physseg.inference.tiles.raster import Raster
from physseg.inference.tiles.state import TileState
from physseg.inference.tiles.write import STACK, TILE_FORMATS, write_tiled


@dataclass(frozen=True)
class TileOptions:
    """How a large picture is cut and read.

    size: side of a window in pixels. overlap: pixels in which neighbours fade into each other, a third of it at most.
    bands, value_range: as in `Raster`. batch_size: windows that go through the model together.
    """

    size: int
    overlap: int
    bands: tuple[int, ...] | None = None
    value_range: tuple[float, float] | None = None
    batch_size: int = 1

    @classmethod
    def of(cls, predictor: Predictor, size: int = 0, overlap: int | None = None, **more) -> "TileOptions":
        """With defaults for what is not given: windows as large as the model's input, a quarter of them shared."""
        size = size or predictor.cfg.INPUT.MIN_SIZE_TEST
        return cls(size, size // 4 if overlap is None else overlap, **more)


def check_tile_formats(formats: Sequence[str]) -> None:
    """Refuse formats that cannot be written by rows.

    Raises:
        ImportError: the extra "geo" is not installed.
        ValueError: naming one, and those that can; or bands to be shown with labels that are not written.
    """
    check_rasterio("--tile")
    for name in formats:
        if name not in TILE_FORMATS:
            raise ValueError(
                f"--format {name} needs the whole picture in memory and cannot be written with --tile; "
                f"these can: {', '.join(TILE_FORMATS)}"
            )
    if STACK in formats and "labels" not in formats:
        raise ValueError(f"--format {STACK} refers to the label map: add --format labels")


def segment_tiled(
    predictor: Predictor, job: Job, options: OutputOptions, tiles: TileOptions
) -> Iterator[tuple[int, int]]:
    """Predict and write one picture; yields (windows done, windows of the picture) as it goes.

    Memory is that of a few windows and their T probabilities. What is unfinished lies in ``TARGET.tiles/``, about one
    byte per pixel; the same call goes on from there, after the last whole row of windows.

    Raises:
        ImportError: the extra "geo" is not installed.
        FileNotFoundError, BrokenFileError: the picture cannot be read.
        ValueError: a format, bands or an overlap that do not fit.
        OSError: the output cannot be written.
    """
    check_tile_formats(options.formats)
    names = options.names(predictor.vocabulary)
    dtype = np.uint8 if len(names) <= 255 else np.uint16
    with Raster(job.source, tiles.bands, tiles.value_range) as raster:
        rows = plan_axis(raster.height, min(tiles.size, raster.height), _overlap(tiles, raster.height))
        columns = plan_axis(raster.width, min(tiles.size, raster.width), _overlap(tiles, raster.width))
        folder = job.target.with_name(job.target.name + ".tiles")
        key = _key(predictor, job.source, raster, names, options, tiles)
        state = TileState(folder, key, (raster.height, raster.width), dtype, len(names))
        with closing(state):
            run = _Run(predictor, raster, state, options.threshold, tiles)
            total = len(rows) * len(columns)
            yield state.rows * len(columns), total
            for index in range(state.rows, len(rows)):
                for done in run.row(rows, index, columns):
                    yield index * len(columns) + done, total
            write_tiled(job, raster, state, names, options)
            state.remove()


class _Run:
    """One picture's windows through the model."""

    def __init__(
        self, predictor: Predictor, raster: Raster, state: TileState, threshold: float, tiles: TileOptions
    ) -> None:
        self.predictor, self.raster, self.state = predictor, raster, state
        self.threshold, self.batch_size = threshold, tiles.batch_size
        self.names = len(predictor.vocabulary)
        self.no_data = np.iinfo(state.dtype).max
        self.overlap = tiles.overlap

    def row(self, rows: Sequence[Span], index: int, columns: Sequence[Span]) -> Iterator[int]:
        """One row of windows, from the model to the state; yields the number done."""
        row = rows[index]
        # Two files in turn: the row above stays as it is until this one is done, for a run that goes on from there.
        above = self._strip(index - 1) if index else None
        below = self._strip(index) if index < len(rows) - 1 else None
        bottom = row.last - row.fade_out
        valid = np.zeros((bottom - row.first, self.raster.width), bool)
        windows = self._windows(row, columns, valid)
        for done, (left, probabilities) in enumerate(blend_row(windows, row, above, below), start=1):
            self._store(row.first, left, probabilities, valid)
            yield done
        for strip in (above, below):
            if strip is not None:
                strip.close()
        self.state.commit(index + 1)

    def _windows(self, row: Span, columns: Sequence[Span], valid: np.ndarray) -> Iterator[tuple[Span, torch.Tensor]]:
        """Probabilities of the row's windows; fills in where the picture has data."""
        for start in range(0, len(columns), self.batch_size):
            part = columns[start : start + self.batch_size]
            images = []
            for column in part:
                image, mask = self.raster.read(slice(row.start, row.stop), slice(column.start, column.stop))
                images.append(image if mask.any() else None)
                top = row.first - row.start
                valid[:, column.first : column.last] = mask[top : top + len(valid), column.used]
            results = iter(self.predictor([image for image in images if image is not None]))
            for column, image in zip(part, images, strict=True):
                if image is None:
                    yield column, torch.zeros(self.names, row.stop - row.start, column.stop - column.start)
                else:
                    yield column, next(results)["sem_seg"]

    def _store(self, top: int, left: int, probabilities: torch.Tensor, valid: np.ndarray) -> None:
        scores, labels = (part.numpy() for part in probabilities.max(dim=0))
        if self.threshold > 0:
            labels = np.where(scores < self.threshold, self.names, labels)
        inside = valid[:, left : left + labels.shape[1]]
        self.state.count(labels[inside], scores[inside])
        self.state.write(top, left, np.where(inside, labels, self.no_data).astype(self.state.dtype))

    def _strip(self, index: int) -> Strip:
        return Strip(self.state.folder / f"strip{index % 2}.raw", self.names, self.overlap, self.raster.width)


def _overlap(tiles: TileOptions, length: int) -> int:
    return tiles.overlap if length > tiles.size else 0


def _key(
    predictor: Predictor,
    source: Path,
    raster: Raster,
    names: Sequence[str],
    options: OutputOptions,
    tiles: TileOptions,
) -> dict:
    """All that the labels depend on, as JSON gives it back."""
    weights = predictor.cfg.MODEL.WEIGHTS
    return {
        "source": _stamp(source),
        "names": list(names),
        "threshold": options.threshold,
        "size": tiles.size,
        "overlap": tiles.overlap,
        "bands": list(raster.bands),
        "value_range": None if raster.value_range is None else [list(pair) for pair in raster.value_range],
        "weights": _stamp(weights) if os.path.exists(weights) else weights,
        "config": predictor.cfg.dump(),
    }


def _stamp(path: str | os.PathLike) -> list:
    status = os.stat(path)
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns]
