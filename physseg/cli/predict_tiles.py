"""Options of `predict` for pictures that are too large to be predicted whole."""

import argparse
from collections.abc import Sequence

from tqdm import tqdm

from physseg.cli.arguments import number
from physseg.data.images import BrokenFileError
from physseg.inference.files import Job, OutputOptions
from physseg.inference.predictor import Predictor
from physseg.inference.tiles.segment import TileOptions, segment_tiled


def add_tile_options(parser: argparse.ArgumentParser) -> None:
    """Add --tile and what goes with it."""
    group = parser.add_argument_group("large pictures, by windows (needs rasterio: the extra geo)")
    group.add_argument(
        "--tile",
        nargs="?",
        type=int,
        const=0,
        metavar="SIZE",
        help="cut pictures into windows of SIZE pixels, blended where they overlap; default SIZE: INPUT.MIN_SIZE_TEST. "
        "Labels become a GeoTIFF; a stopped run goes on where it was",
    )
    group.add_argument(
        "--tile-overlap", type=int, metavar="N", help="pixels shared by neighbours; default: a quarter of SIZE"
    )
    group.add_argument("--bands", type=_numbers, metavar="R,G,B", help="bands of the picture, from 1: 4,3,2")
    group.add_argument(
        "--range",
        nargs=2,
        type=number(float),
        metavar=("LOW", "HIGH"),
        help="values shown as black and white, for other than 8 bit; default: the 2nd and 98th percentile of each band",
    )


def check_tile_options(args: argparse.Namespace) -> None:
    """Check that nothing is asked for that only --tile does.

    Raises:
        ValueError: something is.
    """
    asked = [name for name in ("tile_overlap", "bands", "range") if getattr(args, name) is not None]
    if asked and args.tile is None:
        raise ValueError(f"--{asked[0].replace('_', '-')} is for large pictures: it goes with --tile")


def tile_options(args: argparse.Namespace, predictor: Predictor) -> TileOptions:
    """What the command line says, with the defaults of the predictor's config.

    Raises:
        ValueError: sizes that do not fit.
    """
    if args.tile < 0 or 0 < args.tile < 32:
        raise ValueError(f"--tile: expected 32 pixels or more, got {args.tile}")
    tiles = TileOptions.of(
        predictor,
        args.tile,
        args.tile_overlap,
        bands=args.bands,
        value_range=tuple(args.range) if args.range else None,
        batch_size=args.batch_size,
    )
    if not 0 <= tiles.overlap <= tiles.size // 3:
        raise ValueError(
            f"--tile-overlap: expected 0 to a third of the tile ({tiles.size // 3} pixels), got {tiles.overlap}"
        )
    if tiles.value_range is not None and not tiles.value_range[0] < tiles.value_range[1]:
        raise ValueError(f"--range: expected a low and a higher value, got {tiles.value_range}")
    return tiles


def segment_by_tiles(
    predictor: Predictor, jobs: Sequence[Job], options: OutputOptions, tiles: TileOptions
) -> list[str]:
    """Every picture with its own progress bar; what was wrong with which."""
    problems = []
    for job in jobs:
        try:
            with tqdm(unit="tile", desc=job.source.name) as progress:
                for done, total in segment_tiled(predictor, job, options, tiles):
                    progress.total = total
                    if not progress.n and done > 1:  # gone on with: the speed is that of the rest
                        progress.initial = done
                    progress.update(done - progress.n)
        except BrokenFileError as error:
            problems.append(str(error))
        except FileNotFoundError as error:
            problems.append(str(error))
        except ValueError as error:
            problems.append(f"{job.source}: {error}")
    return problems


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected one or three band numbers, such as 3,2,1; got {text!r}") from None
