import numpy as np
import pytest
from PIL import Image

from physseg.data.images import BrokenFileError, read_image, read_label_map, read_size, write_label_map


def rgb(height=4, width=6):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_rgb_is_read_as_it_is(tmp_path):
    Image.fromarray(rgb()).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, rgb())


def test_grayscale_fills_three_channels(tmp_path):
    gray = np.arange(24, dtype=np.uint8).reshape(4, 6)
    Image.fromarray(gray).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.stack([gray] * 3, axis=2))


def test_16_bit_grayscale_keeps_its_upper_byte(tmp_path):
    gray = np.array([[0, 255, 256], [32768, 65280, 65535]], dtype=np.uint16)
    Image.fromarray(gray).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[:, :, 1], [[0, 0, 1], [128, 255, 255]])


def test_transparency_shows_white(tmp_path):
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 0] = 200
    rgba[0, :, 3] = (255, 0, 128)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image[0, 0], [200, 0, 0])
    np.testing.assert_array_equal(image[0, 1], [255, 255, 255])
    np.testing.assert_allclose(image[0, 2], [227, 127, 127], atol=1)


def test_palette_and_cmyk_become_colours(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), [[[10, 20, 30], [40, 50, 60]]])
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "c.jpg")
    np.testing.assert_allclose(read_image(tmp_path / "c.jpg")[4, 4], [255, 0, 0], atol=6)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1)), (8, lambda a: np.rot90(a))],
)
def test_exif_orientation_is_honoured(tmp_path, orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(rgb()).save(tmp_path / "a.png", exif=exif)
    want = expected(rgb())
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), want)
    assert read_size(tmp_path / "a.png") == want.shape[:2]
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", orient=False), rgb())
    assert read_size(tmp_path / "a.png", orient=False) == (4, 6)


def test_truncated_empty_and_foreign_files_are_named(tmp_path):
    Image.fromarray(rgb(64, 64)).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image")
    for name in ("cut", "empty", "text"):
        with pytest.raises(BrokenFileError, match=f"cannot read image .*{name}.jpg"):
            read_image(tmp_path / f"{name}.jpg")
    with pytest.raises(BrokenFileError, match="empty"):
        read_label_map(tmp_path / "empty.jpg")
    with pytest.raises(FileNotFoundError, match=r"no image .*gone.jpg"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(FileNotFoundError, match=r"no label map .*gone.png"):
        read_label_map(tmp_path / "gone.png")


def test_truncated_png_label_map_is_named(tmp_path):
    write_label_map(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 99, (64, 64)).astype(np.uint8))
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(BrokenFileError, match=r"label map .*cut.png"):
        read_label_map(tmp_path / "cut.png")


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_16_bit_labels_survive(tmp_path, suffix):
    labels = np.array([[0, 254, 255, 256], [257, 846, 32768, 65535]], dtype=np.uint16)
    write_label_map(tmp_path / f"a{suffix}", labels)
    read = read_label_map(tmp_path / f"a{suffix}")
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, labels)


def test_palette_label_map_gives_indices(tmp_path):
    image = Image.new("P", (2, 2))
    image.putpalette([7] * 768)  # every index looks alike
    image.putdata([0, 1, 20, 255])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png"), [[0, 1], [20, 255]])


def test_coloured_label_map_is_refused(tmp_path):
    Image.fromarray(rgb()).save(tmp_path / "a.png")
    with pytest.raises(BrokenFileError, match=r"a.png has mode RGB; expected one channel of class indices"):
        read_label_map(tmp_path / "a.png")


def test_write_refuses_other_dtypes(tmp_path):
    with pytest.raises(TypeError, match="uint8 or uint16"):
        write_label_map(tmp_path / "a.png", np.zeros((2, 2), dtype=np.int64))
