import json
import logging

import numpy as np
import pytest
from detectron2.data import MetadataCatalog

from physseg.cli.check_data import main
from physseg.data.checking import NotPreparedError, check_dataset, format_reports, require_prepared
from physseg.data.registration import register_folders
from physseg.data.specs import names_sha256


def test_good_data_is_ready(prepared):
    root, spec = prepared
    require_prepared(spec, root)
    report = check_dataset(spec, root, decode_images=True)
    assert report.ready
    assert (report.labels, report.images, report.classes_found, report.problems) == (3, 3, 3, [])
    assert "A-150" in format_reports([report])


def test_nothing_there(tmp_path, prepared):
    _, spec = prepared
    with pytest.raises(NotPreparedError, match=r"is missing: no folder of .*prepare_ade20k_150.py"):
        require_prepared(spec, tmp_path / "elsewhere")
    report = check_dataset(spec, tmp_path / "elsewhere")
    assert report.verdict == "missing"


def test_half_done_is_named_from_the_raw_list(prepared, caplog):
    root, spec = prepared
    (spec.labels_path(root) / "v1.png").unlink()
    match = r"is incomplete: expected 3 label maps in .*, found 2; missing: v1. Prepare it: python datasets/prepare_ade"
    with pytest.raises(NotPreparedError, match=match):
        require_prepared(spec, root)
    assert check_dataset(spec, root).missing == ["v1"]
    with caplog.at_level(logging.WARNING):
        require_prepared(spec, root, allow_partial=True)
    assert "going on with these" in caplog.text


def test_more_than_expected(prepared, raw):
    root, spec = prepared
    raw.save_index(spec.labels_path(root) / "extra.png", np.zeros((8, 6)))
    with pytest.raises(NotPreparedError, match=r"found 4; not part of it: extra.*1 of 4 label maps have no image"):
        require_prepared(spec, root, allow_partial=True)


def test_label_map_without_image(prepared):
    root, spec = prepared
    (spec.images_path(root) / "v2.jpg").unlink()
    with pytest.raises(NotPreparedError, match=r"1 of 3 label maps have no image in .*: v2"):
        require_prepared(spec, root, allow_partial=True)


def test_names_are_known_without_raw_data_where_the_image_folder_is_the_splits_own(prepared):
    root, spec = prepared
    for path in (spec.base_path(root) / "annotations/validation").iterdir():
        path.unlink()
    (spec.base_path(root) / "annotations/validation").rmdir()
    (spec.labels_path(root) / "v0.png").unlink()
    assert check_dataset(spec, root, thorough=False).missing == ["v0"]


@pytest.mark.parametrize("workers", [1, 2])
def test_corrupted_content_is_found(prepared, raw, workers):
    root, spec = prepared
    raw.save_index(spec.labels_path(root) / "v0.png", np.full((8, 6), 150))
    raw.save_index(spec.labels_path(root) / "v1.png", np.zeros((8, 5)))
    (spec.labels_path(root) / "v2.png").write_bytes(b"not a png")
    require_prepared(spec, root)  # the cheap check reads no file
    report = check_dataset(spec, root, workers=workers)
    assert report.verdict == "damaged"
    assert report.prepare == "python datasets/prepare_ade20k_150.py --overwrite"
    assert "v0.png holds 150; expected 0 to 149, or 255" in report.problems[0]
    assert "v1.png is 5x8, its image 6x8" in report.problems[1]
    assert "cannot read label map" in report.problems[2]


def test_maps_without_any_class(prepared, raw):
    root, spec = prepared
    for path in spec.labels_path(root).iterdir():
        raw.save_index(path, np.full((8, 6), 255))
    report = check_dataset(spec, root)
    assert report.verdict == "damaged"
    assert report.problems == ["no label map holds a class: every pixel is 255 (ignored)"]


def test_many_files_are_checked_in_parallel(tmp_path, raw):
    spec = raw.sized("a150", 40)
    for index in range(40):
        raw.save_image(spec.images_path(tmp_path) / f"{index:02d}.jpg")
        raw.save_index(spec.labels_path(tmp_path) / f"{index:02d}.png", np.full((4, 4), index))
    assert check_dataset(spec, tmp_path, workers=2).classes_found == 40


def test_truncated_image_is_found_on_request(prepared):
    root, spec = prepared
    path = spec.images_path(root) / "v0.jpg"
    path.write_bytes(path.read_bytes()[:-40])
    assert check_dataset(spec, root).ready
    report = check_dataset(spec, root, decode_images=True)
    assert "cannot read image" in report.problems[0]


def test_recorded_list_is_compared(tmp_path, raw):
    spec = raw.sized("pc459", 2, list_sha256=names_sha256(["2008_000002", "2008_000003"]))
    for name in ("2008_000002", "2008_000003"):
        raw.save_image(spec.images_path(tmp_path) / f"{name}.jpg")
        raw.save_index(spec.labels_path(tmp_path) / f"{name}.tif", np.full((4, 4), 458), np.uint16)
    assert check_dataset(spec, tmp_path).ready
    (spec.labels_path(tmp_path) / "2008_000003.tif").rename(spec.labels_path(tmp_path) / "2008_000007.tif")
    (spec.images_path(tmp_path) / "2008_000003.jpg").rename(spec.images_path(tmp_path) / "2008_000007.jpg")
    report = check_dataset(spec, tmp_path)
    assert report.verdict == "damaged"
    assert "SHA-256 differs" in report.problems[0]


def test_ones_own_registered_data(prepared):
    root, spec = prepared
    register_folders(
        "mine_for_checking", str(spec.images_path(root)), str(spec.labels_path(root)), (".jpg",), (".png",), "by hand",
        stuff_classes=["a", "b"], vocabulary=["a", "b"], ignore_label=255,
    )  # fmt: skip
    require_prepared("mine_for_checking")
    report = check_dataset("mine_for_checking")
    assert "v2.png holds 2; expected 0 to 1, or 255" in report.problems[0]
    assert MetadataCatalog.get("mine_for_checking").ignore_label == 255


def test_unregistered_name():
    with pytest.raises(KeyError, match="'nowhere' is not registered"):
        require_prepared("nowhere")


def test_command_prints_a_table_and_exits_with_a_verdict(prepared, capsys):
    root, _ = prepared
    assert main(["a150", "--root", str(root), "--quick"]) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == [
        "data",
        "set",
        "verdict",
        "label",
        "maps",
        "expected",
        "images",
        "classes",
        "found",
    ]
    assert "A-150" in out
    assert "incomplete" in out
    assert "expected 2000 label maps" in out
    assert main(["--root", str(root)]) == 1
    assert capsys.readouterr().out.count("missing") >= 6


def test_command_prints_json(prepared, capsys):
    root, _ = prepared
    assert main(["a150", "pas20", "--root", str(root), "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert (first["name"], first["verdict"], first["labels"], first["expected"]) == ("a150", "incomplete", 3, 2000)
    assert second["verdict"] == "missing"


def test_command_refuses_unknown_names(capsys):
    assert main(["a151"]) == 2
    assert "no data set 'a151'; expected one of coco_stuff" in capsys.readouterr().err


def test_command_checks_ones_own_data(prepared, tmp_path, capsys):
    root, spec = prepared
    (tmp_path / "c.yaml").write_text(
        "DATASETS:\n  CUSTOM:\n"
        f"    - {{name: checked_own, images: {spec.images_path(root)}, labels: {spec.labels_path(root)}, "
        "classes: [a, b, c]}\n"
    )
    assert main(["--config-file", str(tmp_path / "c.yaml")]) == 0
    assert "checked_own" in capsys.readouterr().out
