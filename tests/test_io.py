import json
import multiprocessing
import os
import resource

import pytest
from PIL import Image

from physseg.io import atomic_write, save_image, write_bytes_atomic, write_json_atomic, write_text_atomic


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


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp"])
def test_a_picture_that_finds_no_room_is_an_error_and_no_half_file(name, tmp_path):
    """In a process that may write 100 bytes: a disk that fills up in the middle of a write."""

    def write():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            with atomic_write(tmp_path / name) as temporary:
                save_image(Image.radial_gradient("L"), temporary)
        except OSError:
            os._exit(3)
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=write)
    process.start()
    process.join(60)
    assert process.exitcode == 3
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_what_pillow_writes(tmp_path):
    image = Image.radial_gradient("L")
    save_image(image, tmp_path / "a.jpg", quality=80)
    image.save(tmp_path / "b.jpg", quality=80)
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
