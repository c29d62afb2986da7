"""Names of the toy world: compositions of attributes, and the label table of every toy dataset.

A thing is a colour, a texture and a shape ("red striped star"); a background is a colour and a material
("green brick wall"). Segmentation training sees 52 of the 144 compositions but every single attribute; the
benchmarks mix seen and new compositions in about the proportions of the real ones.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

# Raw values of COCO-Stuff's things are below this.
_FIRST_STUFF_ID = 91

COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
TEXTURES = ("plain", "striped", "dotted", "checkered")
SHAPES = ("disc", "square", "triangle", "star", "cross")
MATERIALS = ("brick wall", "tiled floor", "wavy water", "grassy field")

# Words that captions use now and then instead of the attribute's own name.
SYNONYMS = {
    "red": "crimson",
    "purple": "violet",
    "plain": "solid",
    "striped": "banded",
    "dotted": "spotted",
    "checkered": "chequered",
    "disc": "circle",
    "cross": "plus",
    "wall": "facade",
    "floor": "pavement",
    "water": "sea",
    "field": "meadow",
}


class Composition(NamedTuple):
    """One nameable kind of region. ``texture`` is a thing's texture or a background's material."""

    colour: str
    texture: str
    shape: str  # "" for a background

    @property
    def name(self) -> str:
        return " ".join(part for part in self if part)

    @property
    def is_thing(self) -> bool:
        return bool(self.shape)


class Row(NamedTuple):
    """One class of a dataset: index used in training and evaluation, value in the raw files, name."""

    train_id: int
    raw_id: int
    name: str


class ToyVocabulary(NamedTuple):
    """Label table of one toy dataset.

    rows: classes (for ``toy_pas20b`` prompts) in train_id order. num_train, num_val: images written.
    fold_from: None, or the index from which prompts count as one background class (``toy_pas20b``).
    background: words for the first class, separated by commas, where that is what no other name is for.
    """

    key: str
    rows: tuple[Row, ...]
    num_train: int
    num_val: int
    fold_from: int | None = None
    background: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(row.name for row in self.rows)


THINGS = tuple(Composition(c, t, s) for c, t, s in product(COLOURS, TEXTURES, SHAPES))
BACKGROUNDS = tuple(Composition(c, m, "") for c, m in product(COLOURS, MATERIALS))
COMPOSITIONS = THINGS + BACKGROUNDS
COMPOSITION_INDEX = {composition.name: index for index, composition in enumerate(COMPOSITIONS)}


def first_synonym(name: str) -> str:
    """``"red disc, crimson circle"`` -> ``"red disc"``: the part that names a composition."""
    return name.split(",")[0].strip()


def swap_synonyms(name: str) -> str:
    """The name with every word replaced that has a synonym: ``"red plain disc"`` -> ``"crimson solid circle"``."""
    return " ".join(SYNONYMS.get(word, word) for word in name.split())


def _is_seen(composition: Composition) -> bool:
    # A diagonal of the attribute grid: every attribute occurs in it equally often, no pair of attributes always does.
    colour = COLOURS.index(composition.colour)
    if composition.is_thing:
        return (colour + TEXTURES.index(composition.texture) + SHAPES.index(composition.shape)) % 3 == 0
    return (colour + MATERIALS.index(composition.texture)) % 2 == 0


def _spread(compositions: tuple[Composition, ...], seen: bool, step: int) -> list[str]:
    """Names in an order whose every slice mixes the attributes; ``step`` must be coprime to their number."""
    names = [composition.name for composition in compositions if _is_seen(composition) == seen]
    return [names[i * step % len(names)] for i in range(len(names))]


_SEEN_THINGS = _spread(THINGS, seen=True, step=11)
_NEW_THINGS = _spread(THINGS, seen=False, step=27)
_SEEN_BACKGROUNDS = _spread(BACKGROUNDS, seen=True, step=5)
_NEW_BACKGROUNDS = _spread(BACKGROUNDS, seen=False, step=5)

_PAS20 = _SEEN_THINGS[:9] + _NEW_THINGS[:1]
_PC59_REST = _SEEN_THINGS[9:11] + _NEW_THINGS[1:5] + _SEEN_BACKGROUNDS[:5] + _NEW_BACKGROUNDS[:3]
_PC459_REST = _SEEN_THINGS[11:15] + _NEW_THINGS[5:29] + _NEW_BACKGROUNDS[3:9]
_A150 = _SEEN_THINGS[12:22] + _NEW_THINGS[29:43] + _SEEN_BACKGROUNDS[4:8] + _NEW_BACKGROUNDS[6:10]
_A847_REST = _SEEN_THINGS[22:30] + _NEW_THINGS[43:] + _NEW_THINGS[5:15] + _SEEN_BACKGROUNDS[8:11] + _NEW_BACKGROUNDS[:6]


def _coco_stuff_rows() -> tuple[Row, ...]:
    # Raw values 0..181 with gaps, things below 91, as in the stuffthingmaps PNGs.
    things = [c.name for c in THINGS if _is_seen(c)]
    backgrounds = [c.name for c in BACKGROUNDS if _is_seen(c)]
    raw_ids = [i * 9 // 4 for i in range(len(things))] + [92 + 8 * i for i in range(len(backgrounds))]
    return tuple(Row(i, raw, name) for i, (raw, name) in enumerate(zip(raw_ids, things + backgrounds, strict=True)))


def _a847_rows() -> tuple[Row, ...]:
    # Ids follow the alphabet and reach far above 255, train ids do not; every third name carries synonyms.
    names = _A150 + _A847_REST
    rank = {name: i for i, name in enumerate(sorted(names))}
    titles = [f"{name}, {swap_synonyms(name)}" if i % 3 == 1 else name for i, name in enumerate(names)]
    titles = [first_synonym(t) if t == f"{n}, {n}" else t for t, n in zip(titles, names, strict=True)]
    return tuple(Row(i, 17 + 32 * rank[name], title) for i, (name, title) in enumerate(zip(names, titles, strict=True)))


def _context_rows() -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Rows of toy_pc59 and toy_pc459; the former keeps the raw ids of the latter, as the real one does."""
    full = tuple(Row(i, i + 1, name) for i, name in enumerate(sorted(_PAS20 + _PC59_REST + _PC459_REST)))
    frequent = set(_PAS20 + _PC59_REST)
    kept = [row for row in full if row.name in frequent]
    return tuple(Row(i, row.raw_id, row.name) for i, row in enumerate(kept)), full


def _voc_rows() -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Rows of toy_pas20, and the prompts of toy_pas20b, whose background names share VOC's raw value 0."""
    things = tuple(Row(i, i + 1, name) for i, name in enumerate(_PAS20))
    return things, things + tuple(Row(len(things) + i, 0, name) for i, name in enumerate(_PC59_REST))


def _build() -> dict[str, ToyVocabulary]:
    pc59, pc459 = _context_rows()
    pas20, pas20b = _voc_rows()
    a150 = tuple(Row(i, i + 1, name) for i, name in enumerate(_A150))
    tables = (
        ToyVocabulary("toy_coco_stuff", _coco_stuff_rows(), num_train=1200, num_val=40),
        ToyVocabulary("toy_a847", _a847_rows(), num_train=0, num_val=60),
        ToyVocabulary("toy_pc459", pc459, num_train=0, num_val=50),
        ToyVocabulary("toy_a150", a150, num_train=0, num_val=50),
        ToyVocabulary("toy_pc59", pc59, num_train=0, num_val=50),
        ToyVocabulary("toy_pas20", pas20, num_train=0, num_val=50),
        ToyVocabulary("toy_pas20b", pas20b, num_train=0, num_val=50, fold_from=len(pas20)),
    )
    return {table.key: table for table in tables}


def _with_background() -> dict[str, ToyVocabulary]:
    """Tables over the same raw files as VOC's and COCO-Stuff's, whose class 0 is all that has no name in them."""
    coco, voc = VOCABULARIES["toy_coco_stuff"], VOCABULARIES["toy_pas20"]
    things = [row for row in coco.rows if row.raw_id < _FIRST_STUFF_ID]
    stuff = [row.name for row in coco.rows if row.raw_id >= _FIRST_STUFF_ID]
    tables = (
        _background_table("toy_voc21", 0, voc.rows, voc.num_val, _PC59_REST),
        _background_table("toy_coco_object", 255, things, coco.num_val, stuff),
    )
    return {table.key: table for table in tables}


def _background_table(key: str, raw_id: int, rows: Sequence[Row], num_val: int, words: Sequence[str]) -> ToyVocabulary:
    named = (Row(i, row.raw_id, row.name) for i, row in enumerate(rows, start=1))
    return ToyVocabulary(key, (Row(0, raw_id, "background"), *named), 0, num_val, background=", ".join(words))


# In the order: training set, then the benchmarks in the paper's column order.
VOCABULARIES = _build()
# Benchmarks with a background class, as training-free methods are compared on.
BACKGROUND_VOCABULARIES = _with_background()


def get_vocabulary(key: str) -> ToyVocabulary:
    """Label table by key (``"toy_a847"``).

    Raises:
        KeyError: no such toy dataset; the message lists the keys.
    """
    if key not in VOCABULARIES:
        raise KeyError(f"no toy dataset {key!r}; expected one of {', '.join(VOCABULARIES)}")
    return VOCABULARIES[key]
