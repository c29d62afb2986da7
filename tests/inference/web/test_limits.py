import numpy as np
import pytest
from PIL import Image

from physseg.data.images import BrokenFileError
from physseg.inference.web.limits import Limits


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cat, dog ,grass,", ["cat", "dog", "grass"]),
        ("cat; sofa, couch", ["cat", "sofa, couch"]),
        ("traffic  light\nroad", ["traffic light", "road"]),
        ("a150", ["a150"]),  # a word here, no benchmark and no file
        ("/etc/passwd", ["/etc/passwd"]),
    ],
)
def test_words_are_parted(text, words):
    assert Limits().vocabulary(text) == words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ,\n", "Type some words first"),
        ("a,b,c,d", "4 words were typed; the page takes 3 at most"),
        ("a" * 11, "has 11 letters; a word has 10 at most"),
        ("cat, Cat", "names a class more than once"),
    ],
)
def test_words_that_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Limits(words=3, letters=10).vocabulary(text)


def test_pictures_that_are_refused(tmp_path):
    path = tmp_path / "a.png"
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(image).save(path)
    assert np.array_equal(Limits().read(path), image)
    with pytest.raises(ValueError, match=r"The picture has 50x40 pixels; the page takes 0.001 million at most"):
        Limits(megapixels=0.001).read(path)
    with pytest.raises(ValueError, match=r"The file has 0.0 MB; the page takes 0 MB at most"):
        Limits(upload=0).read(path)
    path.write_bytes(b"no picture")
    with pytest.raises(BrokenFileError, match="cannot read image"):
        Limits().read(path)
