"""Large pictures by windows, against a predictor whose answer for a pixel depends on that pixel alone."""

import json
from types import SimpleNamespace

import matplotlib.path
import numpy as np
import pytest
import torch
from PIL import Image

from physseg.data.images import BrokenFileError, read_label_map
from physseg.inference.files import Job, OutputOptions
from physseg.inference.formats.label_png import NAMES_KEY
from physseg.inference.tiles.segment import TileOptions, segment_tiled

rasterio = pytest.importorskip("rasterio")

NAMES = ["red", "green", "blue"]
ALL = OutputOptions(formats=("overlay", "labels", "json", "geojson"))


class ByColour:
    """Probability of each name: the value of its colour channel."""

    def __init__(self, fail_at=None):
        self.vocabulary = NAMES
        self.cfg = SimpleNamespace(MODEL=SimpleNamespace(WEIGHTS="none"), dump=lambda: "the config")
        self.calls, self.fail_at = 0, fail_at

    def __call__(self, images):
        self.calls += len(images)
        if self.fail_at is not None and self.calls > self.fail_at:
            raise KeyboardInterrupt
        return [{"sem_seg": torch.from_numpy(image.transpose(2, 0, 1).copy()).float() / 255} for image in images]


@pytest.fixture
def image():
    """Blobs that cross every window's border."""
    small = np.random.default_rng(0).integers(0, 256, (14, 19, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((190, 140), Image.BICUBIC))


def write_tiff(path, bands, **profile):
    count, height, width = bands.shape
    options = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype.name}
    with rasterio.open(path, "w", **options | profile) as file:
        file.write(bands)
    return path


def run(predictor, source, target, options=ALL, **tiles):
    options_of_tiles = TileOptions(**{"size": 48, "overlap": 12} | tiles)
    return list(segment_tiled(predictor, Job(source, target), options, options_of_tiles))


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_windows_give_what_the_whole_picture_gives(image, tmp_path, ending, batch_size):
    source = tmp_path / f"a.{ending}"
    Image.fromarray(image).save(source)
    progress = run(ByColour(), source, tmp_path / "out" / "a", batch_size=batch_size)
    assert progress[0] == (0, 20)
    assert progress[-1] == (20, 20)
    expected = image.argmax(axis=2)
    found = read_label_map(tmp_path / "out" / "a_labels.tif")
    # Blending equal values may move them by a rounding: where two channels tie, either may win.
    top = np.sort(image.astype(int), axis=2)
    assert ((found == expected) | (top[..., 2] == top[..., 1])).all()
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["share"] == pytest.approx({n: float((found == i).mean()) for i, n in enumerate(NAMES)}, abs=1e-6)
    assert record["no_data"] == 0
    for i, name in enumerate(NAMES):
        assert record["score"][name] == pytest.approx(image.max(axis=2)[found == i].mean() / 255, abs=1e-4)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a_labels.tif",
        "a.json",
        "a_overlay.jpg",
        "a_polygons.geojson",
    }


def test_a_geotiff_keeps_its_place_and_its_holes(image, tmp_path):
    transform = rasterio.Affine(2.0, 0, 500_000, 0, -2.0, 5_000_000)
    bands = np.concatenate([image.transpose(2, 0, 1).clip(1), np.full((1, 140, 190), 7, np.uint8)])  # and infrared
    bands[:, 30:60, 100:] = 0
    bands[:, :50, :50] = 0  # a whole window
    source = write_tiff(
        tmp_path / "a.tif", bands, crs="EPSG:32633", transform=transform, nodata=0, photometric="MINISBLACK"
    )
    predictor = ByColour()
    run(predictor, source, tmp_path / "a_out")
    assert predictor.calls == 19
    with rasterio.open(tmp_path / "a_out_labels.tif") as file:
        assert file.crs.to_epsg() == 32633
        assert file.transform == transform
        assert (file.count, file.dtypes, file.nodata) == (1, ("uint8",), 255)
        assert file.block_shapes == [(256, 256)]
        labels = file.read(1)
        assert json.loads(file.tags()[NAMES_KEY]) == NAMES
        assert file.colormap(1)[0] == (230, 25, 75, 255)
    empty = np.zeros((140, 190), bool)
    empty[30:60, 100:] = empty[:50, :50] = True
    assert np.array_equal(labels == 255, empty)
    assert json.loads((tmp_path / "a_out.json").read_text())["no_data"] == pytest.approx(empty.mean())
    # Polygons are in degrees: UTM zone 33 has its middle, 500 km east, at 15 degrees.
    record = json.loads((tmp_path / "a_out_polygons.geojson").read_text())
    points = np.array([p for f in record["features"] for ring in f["geometry"]["coordinates"] for p in ring])
    assert points[:, 0].min() == pytest.approx(15, abs=0.001)
    assert points[:, 1].max() == pytest.approx(45.153, abs=0.01)
    assert sum(f["properties"]["area"] for f in record["features"]) == (~empty).sum()


def test_bands_stay_beside_the_labels(image, tmp_path):
    """Values, type and missing data of every band as in the picture; a folder apart, then the picture's own."""
    bands = np.concatenate([image.transpose(2, 0, 1).clip(1), np.full((1, 140, 190), 7, np.uint8)])
    bands = bands.astype(np.int16) * 40
    bands[:, :50, :50] = -1
    transform = rasterio.Affine(2.0, 0, 500_000, 0, -2.0, 5_000_000)
    source = write_tiff(tmp_path / "a.tif", bands, crs="EPSG:32633", transform=transform, nodata=-1)
    for folder in (tmp_path / "out", tmp_path):
        run(ByColour(), source, folder / "a", OutputOptions(formats=("labels", "vrt")))
        with rasterio.open(folder / "a_bands.vrt") as file, rasterio.open(folder / "a_labels.tif") as labels:
            assert file.dtypes == ("int16",) * 4 + ("uint8",)
            assert file.nodatavals == (-1,) * 4 + (255,)
            assert (file.crs, file.transform) == (labels.crs, transform)
            assert file.descriptions[4] == "label"
            assert np.array_equal(file.read([1, 2, 3, 4]), bands)
            assert np.array_equal(file.read(5), labels.read(1))
            assert (labels.read(1)[:50, :50] == 255).all()
            assert not (labels.read(1)[50:] == 255).any()


def test_polygons_without_a_place_are_in_pixels(image, tmp_path):
    Image.fromarray(image).save(tmp_path / "a.png")
    run(ByColour(), tmp_path / "a.png", tmp_path / "b")
    labels = read_label_map(tmp_path / "b_labels.tif")
    centres = np.stack(np.meshgrid(np.arange(190) + 0.5, np.arange(140) + 0.5), axis=-1).reshape(-1, 2)
    painted = np.full(len(centres), -1)
    for feature in json.loads((tmp_path / "b_polygons.geojson").read_text())["features"]:
        outer, *holes = (matplotlib.path.Path(ring) for ring in feature["geometry"]["coordinates"])
        inside = outer.contains_points(centres)
        for hole in holes:
            inside &= ~hole.contains_points(centres)
        assert feature["properties"]["area"] == inside.sum()
        painted[inside] = feature["properties"]["label"]
    assert np.array_equal(painted.reshape(labels.shape), labels)


@pytest.mark.parametrize("stop_after", [0, 3, 7, 19])
def test_a_stopped_run_goes_on_where_it_was(image, tmp_path, stop_after):
    Image.fromarray(image).save(tmp_path / "a.png")
    run(ByColour(), tmp_path / "a.png", tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(ByColour(stop_after), tmp_path / "a.png", tmp_path / "a")
    assert not (tmp_path / "a_labels.tif").exists()
    again = ByColour()
    progress = run(again, tmp_path / "a.png", tmp_path / "a")
    assert progress[0] == (stop_after // 5 * 5, 20)
    assert again.calls == 20 - stop_after // 5 * 5
    assert (tmp_path / "a_labels.tif").read_bytes() == (tmp_path / "whole_labels.tif").read_bytes()
    records = [json.loads((tmp_path / f"{n}.json").read_text()) for n in ("a", "whole")]
    assert records[0] == records[1]
    assert not (tmp_path / "a.tiles").exists()


def test_another_job_does_not_go_on_with_it(image, tmp_path):
    Image.fromarray(image).save(tmp_path / "a.png")
    with pytest.raises(KeyboardInterrupt):
        run(ByColour(12), tmp_path / "a.png", tmp_path / "a")
    progress = run(ByColour(), tmp_path / "a.png", tmp_path / "a", OutputOptions(threshold=0.5, formats=("labels",)))
    assert progress[0] == (0, 20)
    labels = read_label_map(tmp_path / "a_labels.tif")
    assert np.array_equal(labels == 3, image.max(axis=2) / np.float32(255) < 0.5)


def test_other_values_than_8_bit_are_stretched(image, tmp_path):
    deep = (image.transpose(2, 0, 1).astype(np.uint16) * 16 + 1000)[[2, 1, 0, 0]]
    source = write_tiff(tmp_path / "a.tif", deep)
    run(ByColour(), source, tmp_path / "b", bands=(3, 2, 1), value_range=(1000, 1000 + 255 * 16))
    Image.fromarray(image).save(tmp_path / "a.png")
    run(ByColour(), tmp_path / "a.png", tmp_path / "c")
    assert np.array_equal(read_label_map(tmp_path / "b_labels.tif"), read_label_map(tmp_path / "c_labels.tif"))
    run(ByColour(), source, tmp_path / "d")
    record = json.loads((tmp_path / "d.json").read_text())
    expected = np.percentile(deep[:3].reshape(3, -1), (2, 98), axis=1).T
    np.testing.assert_allclose(record["value_range"], expected)
    with pytest.raises(ValueError, match=r"expected one or three bands from 1 to 4, got \[1, 2, 9\]"):
        run(ByColour(), source, tmp_path / "e", bands=(1, 2, 9))


def test_palettes_and_gray_are_shown_as_they_look(image, tmp_path):
    colours = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    indices = image.argmax(axis=2).astype(np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(colours.tobytes())
    picture.save(tmp_path / "a.png")
    run(ByColour(), tmp_path / "a.png", tmp_path / "a")
    assert np.array_equal(read_label_map(tmp_path / "a_labels.tif"), indices)
    Image.fromarray(image[..., 0]).save(tmp_path / "gray.png")
    run(ByColour(), tmp_path / "gray.png", tmp_path / "gray")
    assert (read_label_map(tmp_path / "gray_labels.tif") == 0).all()


def test_what_cannot_be_done_is_said_before_any_work(image, tmp_path):
    with pytest.raises(ValueError, match="--format coco needs the whole picture in memory"):
        run(ByColour(), tmp_path / "none.png", tmp_path / "a", OutputOptions(formats=("labels", "coco")))
    with pytest.raises(ValueError, match="--format vrt refers to the label map: add --format labels"):
        run(ByColour(), tmp_path / "none.png", tmp_path / "a", OutputOptions(formats=("vrt",)))
    with pytest.raises(FileNotFoundError, match=r"no image .*none.png"):
        run(ByColour(), tmp_path / "none.png", tmp_path / "a")
    (tmp_path / "b.tif").write_bytes(b"II*\0 no tiff")
    with pytest.raises(BrokenFileError, match=r"cannot read image .*b.tif"):
        run(ByColour(), tmp_path / "b.tif", tmp_path / "b")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "c.jpg", exif=exif)
    with pytest.raises(BrokenFileError, match=r"EXIF orientation 6.*store it upright first"):
        run(ByColour(), tmp_path / "c.jpg", tmp_path / "c")
    Image.fromarray(image).save(tmp_path / "d.png")
    data = (tmp_path / "d.png").read_bytes()
    (tmp_path / "d.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(BrokenFileError, match=r"cannot read image .*d.png"):
        run(ByColour(), tmp_path / "d.png", tmp_path / "d")
    assert not list(tmp_path.glob("*_labels.tif"))
