"""What check_datasets says of captions, of images, and of tars."""

import json
from pathlib import Path

from physseg.cli.check_data import main
from physseg.data.pairs.checking import check_pairs
from physseg.data.pairs.sources import PairSource
from tests.data.pairs.conftest import picture, write_tar


def source(write_pairs, captions, **more):
    path, folder = write_pairs(captions)
    return PairSource("mine", captions=str(path), images=str(folder), **more)


def test_captions_and_images_are_counted(write_pairs):
    report = check_pairs(source(write_pairs, [["a", "b"], ["c"]], num_captions=3, num_images=2))
    assert (report.verdict, report.labels, report.images, report.expected) == ("ready", 3, 2, 3)


def test_counts_that_differ(write_pairs):
    report = check_pairs(source(write_pairs, [["a"], ["b"]], num_captions=9, num_images=2))
    assert report.verdict == "incomplete"
    assert "expected 9 captions" in report.problems[0]
    assert "found 2" in report.problems[0]


def test_missing_and_broken_images(write_pairs):
    mine = source(write_pairs, [["a"], ["b"], ["c"]])
    folder = Path(mine.images)
    (folder / "000000000002.png").write_bytes(b"no image")
    assert check_pairs(mine).ready
    report = check_pairs(mine, decode_images=True)
    assert report.verdict == "damaged"
    assert "000000000002.png" in report.problems[0]
    write_pairs([["a"], ["b"], ["c"]])
    (folder / "000000000003.png").unlink()
    report = check_pairs(mine)
    assert (report.verdict, report.missing) == ("incomplete", ["000000000003.png"])


def test_missing_and_damaged_files(tmp_path):
    gone = PairSource("mine", captions=str(tmp_path / "c.json"), images=str(tmp_path), prepare="fetch it")
    report = check_pairs(gone)
    assert (report.verdict, report.prepare) == ("missing", "fetch it")
    (tmp_path / "c.json").write_text("{")
    assert check_pairs(gone).verdict == "damaged"


def test_tars_are_read_through(write_tars, tmp_path):
    tars = write_tars([3, 4])
    report = check_pairs(PairSource("mine", tars=tuple(tars)))
    assert (report.verdict, report.labels, report.images) == ("ready", 7, 7)
    odd = [("a", {"png": b"no image", "txt": "x"}), ("b", {"png": picture(1)}), ("c", {"png": picture(1), "txt": "y"})]
    tars.append(str(write_tar(tmp_path / "odd.tar", odd)))
    tars.append(str(tmp_path / "gone.tar"))
    report = check_pairs(PairSource("mine", tars=tuple(tars)))
    assert report.verdict == "incomplete"
    assert (report.labels, report.images, report.missing) == (8, 9, [tars[-1]])
    assert any("odd.tar/a.png" in problem for problem in report.problems)
    assert "1 of 9 images have no caption" in report.problems
    assert check_pairs(PairSource("mine", tars=tuple(tars[:3])), thorough=False).ready


def test_images_alone_in_tars_are_ready(tmp_path):
    tar = write_tar(tmp_path / "a.tar", [("a", {"png": picture(1)}), ("b", {"png": picture(2)})])
    report = check_pairs(PairSource("mine", tars=(str(tar),)))
    assert (report.verdict, report.images, report.labels) == ("ready", 2, 0)


def test_the_command(write_pairs, tmp_path, capsys):
    path, folder = write_pairs([["a"], ["b"]])
    config = tmp_path / "config.yaml"
    entry = {"name": "mine", "captions": str(path), "images": str(folder)}
    config.write_text(json.dumps({"DATASETS": {"PAIRS": [entry], "TRAIN": ["mine"]}}))
    assert main(["--config-file", str(config)]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["toy_captions_train", "--root", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "missing" in out
    assert "make_toy_world.py" in out
