import json
import os

import pytest

from physseg.io import atomic_write, write_bytes_atomic, write_json_atomic, write_text_atomic


def test_replaces_the_target_and_makes_folders(tmp_path):
    target = tmp_path / "a" / "b" / "c.txt"
    write_text_atomic(target, "old")
    write_text_atomic(target, "nü")
    assert target.read_text(encoding="utf-8") == "nü"
    assert os.listdir(target.parent) == ["c.txt"]


def test_error_leaves_the_old_file_and_no_temporary(tmp_path):
    target = tmp_path / "c.bin"
    write_bytes_atomic(target, b"old")

    def write_half():
        with atomic_write(target) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk"):
        write_half()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["c.bin"]


def test_temporary_keeps_the_suffix_and_folder(tmp_path):
    with atomic_write(tmp_path / "x.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path


def test_mode_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_bytes_atomic(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_a_block_that_removes_the_temporary_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "x") as temporary:
        temporary.unlink()
    assert not (tmp_path / "x").exists()


def test_json(tmp_path):
    write_json_atomic(tmp_path / "x.json", {"a": [1, 2.5]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, 2.5]}
