import pytest

from physseg.data.entries import declared_entries

FIELDS = (("name",), ("images", "tars"), ("name", "images"))


def test_paths_are_relative_to_the_file_that_gives_them(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\nimages: here/../pictures\n")
    in_file, given = declared_entries("DATASETS.X", [str(tmp_path / "mine.yaml"), {"name": "other"}], *FIELDS)
    assert (in_file.name, in_file.where) == ("mine", str(tmp_path / "mine.yaml"))
    assert in_file.path("images") == str(tmp_path / "pictures")
    assert (given.name, given.where, given.path("images")) == ("other", "DATASETS.X[1]", "")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"images": "a"}], r"DATASETS.X\[0\]: no name; it takes name and, if wanted, images, tars"),
        ([{"name": "a"}, {"name": "b", "image": "c"}], r"DATASETS.X\[1\]: unknown image; it takes"),
        ([{"name": 5}], r"DATASETS.X\[0\]: name must be text, got 5"),
        ([{"name": "a", "images": ["b"]}], r"DATASETS.X\[0\]: images must be text, got \['b'\]"),
        ([7], r"DATASETS.X\[0\]: expected a mapping with name and, if wanted, images, tars, got int"),
        ([{"name": "a"}, {"name": "b"}, {"name": "a"}], r"DATASETS.X names a more than once"),
    ],
)
def test_a_wrong_entry_is_named(entries, message):
    with pytest.raises(ValueError, match=message):
        declared_entries("DATASETS.X", entries, *FIELDS)


def test_the_file_of_an_entry_is_missing(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"DATASETS.X\[0\]: no file .*none.yaml; expected a YAML file with name"
    ):
        declared_entries("DATASETS.X", [str(tmp_path / "none.yaml")], *FIELDS)
