import pytest

from physseg.toy_world.vocabularies import (
    BACKGROUNDS,
    COLOURS,
    COMPOSITION_INDEX,
    COMPOSITIONS,
    MATERIALS,
    SHAPES,
    TEXTURES,
    THINGS,
    VOCABULARIES,
    first_synonym,
    get_vocabulary,
    swap_synonyms,
)


def names(key):
    return [first_synonym(name) for name in get_vocabulary(key).names]


def test_compositions_are_all_attribute_products():
    assert len(THINGS) == 6 * 4 * 5
    assert len(BACKGROUNDS) == 6 * 4
    assert len({c.name for c in COMPOSITIONS}) == 144
    assert COMPOSITIONS[COMPOSITION_INDEX["white checkered cross"]] == ("white", "checkered", "cross")
    assert COMPOSITIONS[COMPOSITION_INDEX["red brick wall"]] == ("red", "brick wall", "")


@pytest.mark.parametrize("key", VOCABULARIES)
def test_rows_are_consistent(key):
    table = get_vocabulary(key)
    assert [row.train_id for row in table.rows] == list(range(len(table.rows)))
    assert len(set(names(key))) == len(table.rows)
    assert set(names(key)) <= set(COMPOSITION_INDEX)
    raw_ids = [row.raw_id for row in table.rows if table.fold_from is None or row.train_id < table.fold_from]
    assert len(set(raw_ids)) == len(raw_ids)


def test_raw_values_have_the_real_formats_ranges():
    raw = {key: [row.raw_id for row in table.rows] for key, table in VOCABULARIES.items()}
    assert min(raw["toy_coco_stuff"]) >= 0
    assert max(raw["toy_coco_stuff"]) <= 181
    assert set(range(182)) - set(raw["toy_coco_stuff"])  # gaps
    assert max(raw["toy_a847"]) > 255
    assert raw["toy_a847"] != sorted(raw["toy_a847"])
    assert raw["toy_a150"] == list(range(1, 33))
    assert raw["toy_pc459"] == list(range(1, 59))
    assert raw["toy_pas20"] == list(range(1, 11))


def test_every_attribute_is_seen_in_training():
    seen = " ".join(names("toy_coco_stuff"))
    assert all(word in seen for word in COLOURS + TEXTURES + SHAPES + MATERIALS)


# Share of new names: PAS-20 nearly none, PC-59 and A-150 part, PC-459 and A-847 most.
@pytest.mark.parametrize(
    ("key", "size", "new"),
    [("a847", 96, 71), ("pc459", 58, 38), ("a150", 32, 18), ("pc59", 24, 8), ("pas20", 10, 1), ("pas20b", 24, 8)],
)
def test_overlap_with_training_vocabulary(key, size, new):
    seen = set(names("toy_coco_stuff"))
    assert len(seen) == 52
    assert len(names(f"toy_{key}")) == size
    assert len(set(names(f"toy_{key}")) - seen) == new


def test_pas20b_prompts_are_pas20_then_the_rest_of_pc59():
    table = get_vocabulary("toy_pas20b")
    assert table.fold_from == 10
    assert table.names[:10] == get_vocabulary("toy_pas20").names
    assert set(table.names) == set(get_vocabulary("toy_pc59").names)
    assert {row.raw_id for row in table.rows[10:]} == {0}


def test_pc59_keeps_raw_ids_of_pc459():
    full = {row.name: row.raw_id for row in get_vocabulary("toy_pc459").rows}
    assert all(full[row.name] == row.raw_id for row in get_vocabulary("toy_pc59").rows)


def test_synonyms():
    with_synonyms = [name for name in get_vocabulary("toy_a847").names if "," in name]
    assert len(with_synonyms) > 10
    assert all(swap_synonyms(first_synonym(name)) == name.split(", ")[1] for name in with_synonyms)
    assert swap_synonyms("red plain disc") == "crimson solid circle"


def test_unknown_key_lists_the_keys():
    with pytest.raises(KeyError, match="toy_coco_stuff"):
        get_vocabulary("toy_lvis")
