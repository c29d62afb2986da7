"""Vocabularies: the class names of the benchmarks as data files, and lists of a user's own.

A file ``vocabularies/KEY.tsv`` has four columns: ``train_id`` (value in prepared label maps, index of the
prompt), ``raw_id`` (value in the raw files), ``name``, ``synonyms`` (comma-separated, may be empty). A class
is handed to the model as ``"name, synonym, synonym"``.

Two things to know:

* ``pc459`` writes names without spaces ("hot-airballoon"), as CAT-Seg's published number has it;
  ``pc459_spaced`` has the official spelling ("hot-air balloon"). 94 of the 459 names differ.
* In ``a847`` nine first synonyms stand for nineteen classes (bag 114/191/252, pot 130/188, basket 137/371,
  screen 147/153, pier 174/255, control panel 208/768, pipe 214/412, grill 229/663, patio 235/280). With
  first-synonym prompts their scores are equal, so ten classes can never be predicted. It is part of the
  published numbers; ``first_synonym_collisions`` lists such groups for any vocabulary.
"""

import csv
import difflib
import os
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from physseg.paths import existing_file

# Unicode's control characters, line and paragraph separators, and what stands for bytes that are no text.
_UNPRINTABLE = ("Cc", "Zl", "Zp", "Cs")
# Format characters that words are written with: Persian and Indic scripts join and part letters by them.
_JOINERS = "\u200c\u200d"

VOCABULARY_FOLDER = Path(__file__).parent / "vocabularies"


class LabelRow(NamedTuple):
    """One class: index in training and evaluation, value in the raw files, name, further names."""

    train_id: int
    raw_id: int
    name: str
    synonyms: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """``"building, edifice"``: the name first, then its synonyms."""
        return ", ".join((self.name, *self.synonyms))


@cache
def load_label_table(key: str) -> tuple[LabelRow, ...]:
    """Rows of the shipped table ``key`` (``"a847"``), in train_id order.

    Raises:
        KeyError: no such table; the message lists what there is.
    """
    if key not in table_keys():
        raise KeyError(f"no vocabulary {key!r}; expected one of {', '.join(table_keys())}")
    return read_label_table(VOCABULARY_FOLDER / f"{key}.tsv")


def table_keys() -> tuple[str, ...]:
    """Names of the shipped tables."""
    return tuple(sorted(path.stem for path in VOCABULARY_FOLDER.glob("*.tsv")))


def read_label_table(path: str | os.PathLike) -> tuple[LabelRow, ...]:
    """Read a table with the four columns of this module from any file.

    Raises:
        ValueError: a column is missing, an id is no integer, or train_ids are not 0, 1, 2, ... in order.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = {"train_id", "raw_id", "name"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path}: no column {', '.join(sorted(missing))}; the first line must name the columns")
        rows = tuple(_row(path, line, index) for index, line in enumerate(reader))
    return rows


def _row(path: str | os.PathLike, line: dict[str, str], index: int) -> LabelRow:
    try:
        train_id, raw_id = int(line["train_id"]), int(line["raw_id"])
    except (TypeError, ValueError):
        raise ValueError(f"{path}: line {index + 2}: train_id and raw_id must be integers, got {line}") from None
    if train_id != index:
        raise ValueError(f"{path}: line {index + 2}: train_id {train_id}, expected {index}: ids count up from 0")
    return LabelRow(train_id, raw_id, line["name"].strip(), _split(line.get("synonyms") or ""))


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)


def check_vocabulary(names: Sequence[str], source: str = "the vocabulary") -> list[str]:
    """Return the names stripped of outer blanks, after checking that a model can be prompted with them.

    Names that share only a first synonym are allowed, as A-847 has them; equal names are not, whether they
    differ in case or blanks or not: the tokenizer sees the same words.

    Raises:
        TypeError: a name is no string, or ``names`` is one string.
        ValueError: no names, an empty name, names that occur more than once (all are listed), or characters that are
            no text: line breaks, tabs, bytes that were not UTF-8; characters that cannot be seen, soft hyphens and
            the like, which the tokenizer would read.
    """
    if isinstance(names, str):
        raise TypeError(f"{source} must be a list of names, got the string {names!r}; write [{names!r}]")
    names = list(names)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise TypeError(f"{source} must hold strings, got {wrong[0]!r} of type {type(wrong[0]).__name__}")
    if not names:
        raise ValueError(f"{source} is empty; give at least one class name")
    names = [name.strip() for name in names]
    empty = [index for index, name in enumerate(names) if not _split(name)]
    if empty:
        raise ValueError(f"{source} has an empty name at position {', '.join(map(str, empty[:5]))} (counting from 0)")
    unprintable = [name for name in names if any(unicodedata.category(c) in _UNPRINTABLE for c in name)]
    if unprintable:
        raise ValueError(
            f"{source}: {unprintable[0]!r} holds a line break, a tab or another character that is no text; give one "
            "name per entry"
        )
    hidden = [name for name in names if any(unicodedata.category(c) == "Cf" and c not in _JOINERS for c in name)]
    if hidden:
        raise ValueError(
            f"{source}: {hidden[0]!a} holds a character that cannot be seen and would be read; write it anew"
        )
    positions: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        positions.setdefault(" ".join(name.lower().split()), []).append(index)
    doubles = [f"{names[where[0]]!r} at {where}" for where in positions.values() if len(where) > 1]
    if doubles:
        raise ValueError(f"{source} names a class more than once: {'; '.join(doubles[:10])}; keep one of each")
    return names


def first_synonym_collisions(names: Sequence[str]) -> dict[str, list[int]]:
    """Indices of classes that share a first synonym, and so a prompt: ``{"pot": [130, 188], ...}``."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(_split(name)[0].lower(), []).append(index)
    return {name: indices for name, indices in groups.items() if len(indices) > 1}


# How lines of other files than lists of names begin.
_CODE = ("[", "{", "<", '"', "]", "}", "!!", "---")


def read_name_list(path: str | os.PathLike) -> list[str]:
    """Names of a text file, one per line (synonyms after a comma), or of a table as above (``.tsv``).

    Blank lines and lines that begin with ``#`` are skipped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not UTF-8 text, or ``check_vocabulary`` refuses the names.
    """
    try:
        path = existing_file(path, "vocabulary file")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; expected a text file with one class name per line") from None
    try:
        if path.suffix == ".tsv":
            return check_vocabulary([row.title for row in read_label_table(path)], f"vocabulary file {path}")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"vocabulary file {path} is not UTF-8 text: {error}") from None
    except csv.Error as error:
        raise ValueError(f"vocabulary file {path} is no table: {error}") from None
    names = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    code = [name for name in names if name.startswith(_CODE)]
    if code:
        raise ValueError(
            f"vocabulary file {path} has the line {code[0][:60]!r}, which looks like JSON, YAML or HTML; expected one "
            "class name per line, without brackets and quotation marks"
        )
    numbered = [name for name in names if "," in name and name.partition(",")[0].strip().isdecimal()]
    if numbered:
        raise ValueError(
            f"vocabulary file {path} has the line {numbered[0][:60]!r}, which looks like a row of a table; expected "
            "one class name per line, without its number (what follows a comma is a synonym)"
        )
    return check_vocabulary(names, f"vocabulary file {path}")


def get_vocabulary(name_or_file: str) -> list[str]:
    """The prompts behind a name: a benchmark's key or registered name, a shipped table, or a text file.

    Raises:
        ValueError: it is none of them, or the file's names are refused.
    """
    from physseg.data.specs import find_spec  # specs are built from the tables of this module

    spec = find_spec(name_or_file)
    if spec is not None:
        return list(spec.vocabulary)
    if name_or_file in table_keys():
        return [row.title for row in load_label_table(name_or_file)]
    if _is_there(name_or_file):
        return read_name_list(name_or_file)
    raise ValueError(
        f"vocabulary {name_or_file!r} is neither a file with one name per line nor a known name; "
        f"known: {', '.join(table_keys())}, and the registered data set names"
    )


def is_vocabulary(name_or_file: str) -> bool:
    """Whether `get_vocabulary` knows the name, or something is at the path."""
    from physseg.data.specs import find_spec  # as above

    return find_spec(name_or_file) is not None or name_or_file in table_keys() or _is_there(name_or_file)


def meant_as_source(word: str) -> str:
    """What a word looks like that is neither a file nor a benchmark, but hardly a class's name; empty for a name.

    ``"words.txt"`` and ``"lists/words"`` look like files, ``"a151"`` and ``"A-150"`` like a benchmark.
    """
    from physseg.data.specs import all_specs  # as above

    if "/" in word or "\\" in word or word.startswith("~") or re.search(r"\.[A-Za-z]{2,8}$", word):
        return "a file, and there is none of that name"
    keys = [*table_keys(), *(spec.key for spec in all_specs()), *(spec.registered_name for spec in all_specs())]
    plain = word.lower().replace("-", "").replace(" ", "")
    near = difflib.get_close_matches(plain, keys, n=1, cutoff=0.75) if re.search(r"\d|_", word) else []
    if near or re.fullmatch(r"(toy_?)?(a|pc|pas|ade|context|voc)\d{2,4}[a-z]?", plain):
        return "a benchmark, and there is none of that name" + (f"; did you mean {near[0]}?" if near else "")
    return ""


def _is_there(path: str) -> bool:
    """Whether there is anything at a path, of whatever kind: if it is no file, reading says so."""
    try:
        return Path(path).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False
