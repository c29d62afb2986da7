import os

import pytest

from physseg.paths import existing_file, same_file, writable_file, writable_folder


def test_a_file_comes_back(tmp_path, monkeypatch):
    (tmp_path / "a.txt").touch()
    assert existing_file(str(tmp_path / "a.txt")) == tmp_path / "a.txt"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert existing_file("~/a.txt") == tmp_path / "a.txt"


@pytest.fixture
def zoo(tmp_path):
    """One of every kind of thing that a path may lead to."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", r"no word list .*gone$"),
        ("folder", r"folder is a folder; expected a word list"),
        ("pipe", r"pipe is a named pipe; expected a word list"),
        ("dangling", r"no word list .*dangling: it is a symbolic link to .*gone, which leads nowhere"),
        ("loop", r"no word list .*loop: .*(circle|leads nowhere)"),
        ("file/below", r"no word list .*: a part of the path is a file, not a folder"),
        ("x" * 300, r"no word list .*: the name is too long"),
        ("zero\0byte", r"a path cannot hold a zero byte"),
    ],
)
def test_what_there_is_instead_is_named(zoo, name, message):
    with pytest.raises(OSError, match=message):
        existing_file(f"{zoo}/{name}", "word list")


@pytest.mark.parametrize(
    "path", ["", "~nobody-of-that-name/file", "/dev/zero", b"\xff".decode(errors="surrogateescape")]
)
def test_odd_paths(path):
    with pytest.raises(OSError, match=r"expected a file|no file"):
        existing_file(path)


def test_folders_are_made(tmp_path):
    assert writable_folder(tmp_path / "a" / "b").is_dir()
    assert writable_file(tmp_path / "c" / "d.txt").parent.is_dir()
    assert not list((tmp_path / "a" / "b").iterdir())


@pytest.mark.parametrize("name", ["file", "file/below", "pipe/below"])
def test_files_in_the_way(zoo, name):
    with pytest.raises(NotADirectoryError, match=r"output folder .* is a file, not a folder"):
        writable_folder(zoo / name)


def test_a_folder_where_a_file_is_wanted(zoo):
    with pytest.raises(IsADirectoryError, match=r"output file .* is a folder; give the name of a file"):
        writable_file(zoo / "folder")


def test_no_room(tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OSError, match=r"output folder .* cannot be written to: No space left on device"):
        writable_folder(tmp_path)


def test_one_file_by_two_names(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "b").symlink_to("a")
    os.link(tmp_path / "a", tmp_path / "c")
    assert same_file(tmp_path / "a", tmp_path / "b")
    assert same_file(tmp_path / "b", tmp_path / "c")
    assert not same_file(tmp_path / "a", tmp_path / "d")
