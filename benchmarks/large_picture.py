"""Large pictures by windows: time, memory over the model, and what the seams cost.

    python benchmarks/large_picture.py --side 20000 --tile 1024     a synthetic TIFF, a mosaic of toy scenes
    python benchmarks/large_picture.py --seams                      40 scenes by windows, against each scene whole

The model is the toy model, on a CPU. The peak is that of the process (VmHWM), counted from what it holds once the
model is loaded and has predicted a small picture; it is reset there.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.windows import Window

import physseg
from physseg.data.images import read_label_map
from physseg.inference.files import Job, OutputOptions
from physseg.inference.tiles.plan import plan_axis
from physseg.inference.tiles.segment import TileOptions, segment_tiled
from physseg.toy_world.example import toy_scene

SCENE = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000, help="of the picture, in pixels")
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--names", type=int, default=10, help="words")
    parser.add_argument("--seams", action="store_true")
    parser.add_argument("--scenes", type=int, default=40, help="of --seams")
    args = parser.parse_args()
    predictor = physseg.load("toy", device="cpu")
    if args.seams:
        seams(predictor, args.scenes)
    else:
        large(predictor, args.side, args.tile, args.names)


def large(predictor: physseg.Predictor, side: int, tile: int, names: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "large.tif"
        predictor.set_vocabulary((write_mosaic(source, side) + [f"word {i}" for i in range(names)])[:names])
        predictor(np.zeros((96, 96, 3), np.uint8))
        Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
        before, start = memory("VmRSS"), time.perf_counter()
        options = OutputOptions(formats=("labels", "json"))
        tiles = TileOptions.of(predictor, tile)
        for done, total in segment_tiled(predictor, Job(source, Path(folder) / "out"), options, tiles):
            print(f"\r{done} of {total} windows", end="", file=sys.stderr)
        seconds = time.perf_counter() - start
        print(
            f"\n{side}x{side}, {names} names, tile {tile}: {seconds:.0f} s, at most {memory('VmHWM'):.2f} GB, of which "
            f"{before:.2f} GB before, with libraries and model"
        )


def write_mosaic(path: Path, side: int) -> list[str]:
    """A square TIFF of eight scenes in turn, by blocks; returns the names in them."""
    scenes = [toy_scene(seed, SCENE) for seed in range(8)]
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "tiled": True}
    with rasterio.open(path, "w", width=side, height=side, crs="EPSG:32633", **profile) as file:
        for row, top in enumerate(range(0, side, SCENE)):
            for column, left in enumerate(range(0, side, SCENE)):
                height, width = min(SCENE, side - top), min(SCENE, side - left)
                block = scenes[(row + 3 * column) % 8][0][:height, :width]
                file.write(block.transpose(2, 0, 1), window=Window(left, top, width, height))
    return list(dict.fromkeys(name for _, names, _ in scenes for name in names))


def seams(predictor: physseg.Predictor, scenes: int, tile: int = 144) -> None:
    """Agreement with the scene predicted whole, and with the truth, in shared zones and elsewhere."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(scenes):
            image, names, truth = toy_scene(seed)
            predictor.set_vocabulary(names)
            whole = predictor.labels(image).numpy()
            source = Path(folder) / f"{seed}.png"
            Image.fromarray(image).save(source)
            for overlap in (0, tile // 4):
                job = Job(source, Path(folder) / f"{seed}-{overlap}")
                list(segment_tiled(predictor, job, OutputOptions(formats=("labels",)), TileOptions(tile, overlap)))
                found = read_label_map(f"{job.target}_labels.tif")
                for zone, inside in zones(truth.shape, tile, tile // 4).items():
                    part = rows.setdefault((overlap, zone), [])
                    part.append([inside.sum(), *((a == b)[inside].sum() for a, b in pairs(found, whole, truth))])
    print("overlap  zone     by windows = whole  by windows = truth  whole = truth")
    for (overlap, zone), counts in rows.items():
        pixels, *right = np.sum(counts, axis=0)
        shares = "".join(f"{100 * count / pixels:>18.1f}%" for count in right)
        print(f"{overlap:>7}  {zone:<7}{shares}")


def pairs(found: np.ndarray, whole: np.ndarray, truth: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(found, whole), (found, truth), (whole, truth)]


def zones(shape: tuple[int, int], tile: int, overlap: int) -> dict[str, np.ndarray]:
    """Pixels in zones that neighbours share, and all others: the same pixels whatever overlap is tried."""
    shared = np.zeros(shape, bool)
    for axis, length in enumerate(shape):
        for span in plan_axis(length, tile, overlap)[1:]:
            zone = slice(span.first, span.first + span.fade_in)
            shared[(zone, slice(None)) if axis == 0 else (slice(None), zone)] = True
    return {"shared": shared, "other": ~shared}


def memory(key: str) -> float:
    """A line of /proc/self/status, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 2**20


if __name__ == "__main__":
    main()
