"""Nouns of a caption, by a list of words.

PACL puts the nouns of each caption into prompt templates and adds them as texts. How it finds nouns is not known to us;
a tagger would need a model of its own. A list of words finds them without one.
"""

import os
import re
from collections.abc import Iterable

from physseg.data.vocabularies import get_vocabulary


class NounFinder:
    """Which of the given words stand in a caption, as whole words, the longest at each place.

    Args:
        words: of one or more words each; upper and lower case do not matter. A plural by -s or -es counts.
    """

    def __init__(self, words: Iterable[str]) -> None:
        # The longest first: "fire hydrant" before "fire".
        self._words = sorted({" ".join(word.lower().split()) for word in words if word.strip()}, key=len, reverse=True)
        if not self._words:
            raise ValueError("INPUT.PAIRS.NOUNS names a list without a word")
        joined = "|".join(map(re.escape, self._words))
        self._pattern = re.compile(rf"\b({joined})(?:es|s)?\b")

    @classmethod
    def from_file(cls, source: str | os.PathLike) -> "NounFinder":
        """Words of a text file, one a line with its synonyms after commas, or of a vocabulary by its name.

        Raises:
            ValueError, FileNotFoundError: as `physseg.data.vocabularies.get_vocabulary`.
        """
        return cls(word for name in get_vocabulary(str(source)) for word in name.split(","))

    def __call__(self, caption: str) -> list[str]:
        """The words found, in their order, each once."""
        return list(dict.fromkeys(self._pattern.findall(caption.lower())))
