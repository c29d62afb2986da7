import csv
from pathlib import Path

import pytest

from physseg.data.vocabularies import (
    check_vocabulary,
    first_synonym_collisions,
    get_vocabulary,
    load_label_table,
    read_label_table,
    read_name_list,
    table_keys,
)

FACTS = Path(__file__).parents[3] / "shared" / "facts"


def test_all_tables_load_with_consecutive_ids():
    sizes = {key: len(load_label_table(key)) for key in table_keys()}
    assert sizes == {
        "a150": 150, "a847": 847, "coco_stuff": 171, "pas20": 20, "pas20b": 21, "pas20b_prompts": 59, "pc459": 459,
        "pc459_spaced": 459, "pc59": 59, "voc21": 21, "voc21_prompts": 21, "pc60": 60, "coco_object": 81,
        "coco_object_prompts": 81, "cityscapes": 19,
    }  # fmt: skip


@pytest.mark.skipif(not FACTS.is_dir(), reason="the source tables are not part of the package")
@pytest.mark.parametrize(
    ("key", "source", "raw", "name"),
    [
        ("coco_stuff", "cocostuff171", "raw_png_value", "name"),
        ("a150", "ade150", "raw_png_value", "name"),
        ("a847", "ade847", "ade_full_index", "first_synonym"),
        ("pc59", "pc59", "raw_id", "name"),
        ("pc459", "pc459", "raw_id", "name"),
        ("pc459_spaced", "pc459", "raw_id", "name_with_spaces"),
        ("pas20", "voc20", "raw_id", "name"),
    ],
)
def test_tables_equal_their_sources(key, source, raw, name):
    with open(FACTS / f"{source}.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [(r.train_id, r.raw_id, r.name) for r in load_label_table(key)] == [
        (int(r["train_id"]), int(r[raw]), r[name]) for r in rows
    ]


def test_coco_ids_are_those_of_the_pngs_not_of_the_label_list():
    raw = {row.name: row.raw_id for row in load_label_table("coco_stuff")}
    assert raw["person"] == 0
    # "hair drier" is official id 89, "banner" 92: the PNGs hold one less.
    assert (raw["hair drier"], raw["banner"]) == (88, 91)


def test_synonyms_follow_the_name():
    rows = load_label_table("a847")
    assert rows[1].name == "building"
    assert rows[1].title == "building, edifice"


def test_pc459_has_two_spellings():
    plain, spaced = load_label_table("pc459"), load_label_table("pc459_spaced")
    assert sum(a.name != b.name for a, b in zip(plain, spaced, strict=True)) == 94
    assert [a.name for a in plain] == [b.name.replace(" ", "") for b in spaced]


def test_nine_prompts_of_a847_stand_for_nineteen_classes():
    collisions = first_synonym_collisions(get_vocabulary("a847"))
    assert collisions["bag"] == [114, 191, 252]
    assert len(collisions) == 9
    assert sum(map(len, collisions.values())) - len(collisions) == 10


def test_check_vocabulary_names_what_is_wrong():
    assert check_vocabulary([" a cat ", "dog, hound"]) == ["a cat", "dog, hound"]
    with pytest.raises(ValueError, match="my list is empty"):
        check_vocabulary([], "my list")
    with pytest.raises(ValueError, match="empty name at position 1"):
        check_vocabulary(["a", "  ", "b"])
    with pytest.raises(ValueError, match=r"more than once: 'cat' at \[0, 2\]"):
        check_vocabulary(["cat", "dog", " Cat"])
    with pytest.raises(TypeError, match="the string 'cat'"):
        check_vocabulary("cat")
    with pytest.raises(TypeError, match="got 3 of type int"):
        check_vocabulary(["cat", 3])


def test_names_that_share_only_a_first_synonym_are_allowed():
    assert check_vocabulary(["bag", "bag, handbag"]) == ["bag", "bag, handbag"]


@pytest.mark.parametrize(
    "text", ['["cat", "dog"]', '{"a": 1}', "[\n  cat\n]", '"cat"\n"dog"', "<html>", "---\n- cat", "!!python/none"]
)
def test_a_file_of_another_kind_is_no_list_of_names(text, tmp_path):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(ValueError, match=r"names.txt has the line .* looks like JSON, YAML or HTML"):
        read_name_list(tmp_path / "names.txt")


def test_rows_of_a_table_are_no_synonyms(tmp_path):
    (tmp_path / "names.csv").write_text("id,name\n1,cat\n2,dog\n")
    with pytest.raises(ValueError, match=r"names.csv has the line '1,cat', which looks like a row of a table"):
        read_name_list(tmp_path / "names.csv")


def test_name_list_skips_blanks_and_comments(tmp_path):
    (tmp_path / "names.txt").write_text("# mine\ncat\n\n  dog, hound \n", encoding="utf-8")
    assert read_name_list(tmp_path / "names.txt") == ["cat", "dog, hound"]
    assert get_vocabulary(str(tmp_path / "names.txt")) == ["cat", "dog, hound"]
    (tmp_path / "names.txt").write_text("cat\ncat\n")
    with pytest.raises(ValueError, match=r"names.txt names a class more than once"):
        read_name_list(tmp_path / "names.txt")
    (tmp_path / "latin.txt").write_bytes("Bär".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        read_name_list(tmp_path / "latin.txt")
    with pytest.raises(FileNotFoundError, match="one class name per line"):
        read_name_list(tmp_path / "gone.txt")


def test_vocabulary_by_key_name_and_table():
    assert len(get_vocabulary("pas20b")) == 59
    assert get_vocabulary("voc_2012_test_sem_seg") == get_vocabulary("pas20")
    assert "hot-air balloon" in get_vocabulary("pc459_spaced")
    with pytest.raises(ValueError, match="'nothing' is neither a file"):
        get_vocabulary("nothing")


def test_bad_tables_are_refused(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("id\tname\n0\ta\n")
    with pytest.raises(ValueError, match="no column raw_id, train_id"):
        read_label_table(path)
    path.write_text("train_id\traw_id\tname\n0\tx\ta\n")
    with pytest.raises(ValueError, match="line 2: train_id and raw_id must be integers"):
        read_label_table(path)
    path.write_text("train_id\traw_id\tname\n1\t1\ta\n")
    with pytest.raises(ValueError, match="train_id 1, expected 0"):
        read_label_table(path)
