"""What the page takes, and what it says to the rest."""

import os
from dataclasses import dataclass

import numpy as np

from physseg.data.images import read_image, read_size
from physseg.data.vocabularies import check_vocabulary


@dataclass(frozen=True)
class Limits:
    """upload: MB of a picture's file. megapixels: of a picture. words, letters: in a vocabulary, in a word.

    queue: requests that wait at a time; more are refused. sessions: visitors whose picture is kept; the one who has
    been idle longest goes first. idle: seconds after which a picture is dropped.
    """

    upload: int = 20
    megapixels: float = 25
    words: int = 100
    letters: int = 100
    queue: int = 16
    sessions: int = 16
    idle: int = 1800

    def read(self, path: str | os.PathLike) -> np.ndarray:
        """A picture's pixels, uint8 (H, W, 3) RGB, once its header says that they are not too many.

        Raises:
            BrokenFileError: no picture. ValueError: too large a file or picture.
        """
        size = os.path.getsize(path) / 2**20
        if size > self.upload:
            raise ValueError(f"The file has {size:.1f} MB; the page takes {self.upload} MB at most.")
        height, width = read_size(path)
        if height * width > self.megapixels * 1e6:
            raise ValueError(
                f"The picture has {width}x{height} pixels; the page takes {self.megapixels:g} million at most. "
                "physseg predict --tile takes pictures of any size."
            )
        return read_image(path)

    def vocabulary(self, text: str) -> list[str]:
        """Words as typed: parted by commas; or, with semicolons, by those, and synonyms by commas; lines part, too.

        Raises:
            ValueError: none, too many, too long a one, one twice.
        """
        separator = ";" if ";" in text else ","
        words = [" ".join(word.split()) for line in text.splitlines() for word in line.split(separator)]
        words = [word for word in words if word]
        if not words:
            raise ValueError("Type some words first, parted by commas: cat, dog, grass")
        if len(words) > self.words:
            raise ValueError(f"{len(words)} words were typed; the page takes {self.words} at most.")
        if long := [word for word in words if len(word) > self.letters]:
            raise ValueError(f"{long[0][:30]!r}... has {len(long[0])} letters; a word has {self.letters} at most.")
        return check_vocabulary(words)
