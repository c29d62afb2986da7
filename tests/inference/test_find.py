import os

import pytest
from PIL import Image

from physseg.inference.find import find_files


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    return path


def add(path):
    Image.new("RGB", (4, 4)).save(path)


def test_formats_that_are_not_read_are_mentioned(folder, tmp_path):
    add(folder / "a.png")
    for name in ("b.gif", "c.GIF", "d.heic", "e.avif", "f.jp2", "g.svg", "h.wmv", "notes.txt", "x.json"):
        (folder / name).touch()
    jobs, left_out = find_files([folder], tmp_path / "out")
    assert [job.source.name for job in jobs] == ["a.png"]
    (text,) = left_out
    assert text.startswith(
        f"{folder}: files of formats that are not read: 1 .avif, 2 .gif, 1 .heic, 1 .jp2, 1 .svg, 1 ."
    )


def test_broken_links_and_pipes_are_not_left_out(folder, tmp_path):
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "pipe.png")
    jobs, left_out = find_files([folder], tmp_path / "out")
    assert sorted(job.source.name for job in jobs) == ["gone.jpg", "pipe.png"]
    assert left_out == []


def test_an_unreadable_folder_is_mentioned(folder, tmp_path, monkeypatch):
    (folder / "closed").mkdir()
    real = os.scandir

    def closed(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert find_files([folder], tmp_path / "out").left_out == [f"{folder / 'closed'}: Permission denied"]


@pytest.mark.parametrize("name", ["x" * 250, "ü" * 120, "猫" * 80, b"\xff\xfe".decode(errors="surrogateescape") * 60])
def test_long_names_leave_room_for_endings(tmp_path, name):
    sources = [tmp_path / f"{name}.png", tmp_path / f"{name}b.png"]
    targets = [job.target for job in find_files(sources, tmp_path).jobs]
    assert len(set(targets)) == 2
    for target in targets:
        assert len(os.fsencode(target.name)) <= 180
        target.with_name(target.name + "_probabilities.npz").touch()


def test_one_stem_twice(folder, tmp_path):
    add(folder / "a.png")
    add(folder / "a.jpg")
    assert {job.target.name for job in find_files([folder], tmp_path / "out").jobs} == {"a_png", "a_jpg"}
