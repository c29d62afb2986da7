import csv
import io
import json

import pytest

from physseg.evaluation.tables import (
    PUBLISHED,
    Row,
    columns_of,
    published_for,
    render,
    render_details,
    result_rows,
    time_shares,
    write_tables,
)

ROWS = [Row("ours & theirs", {"pas20": 94.567, "a847": 12.0}), Row("other", {"a150": 31.8, "my_set": 1.0}, "a paper")]


def test_columns_stand_in_the_papers_order():
    assert columns_of(ROWS) == ["a847", "a150", "pas20", "my_set"]
    assert columns_of([Row("toy", {"toy_pas20b": 1.0, "toy_pc459": 2.0})]) == ["toy_pc459", "toy_pas20b"]


def test_published_rows_stand_beside_real_benchmarks_only():
    assert published_for(["a150"]) == PUBLISHED
    assert published_for(["toy_a150"]) == ()
    assert all(len(row.values) == 6 and row.source for row in PUBLISHED)
    assert PUBLISHED[0].values == {
        "a847": 12.0,
        "pc459": 19.0,
        "a150": 31.8,
        "pc59": 57.5,
        "pas20": 94.6,
        "pas20b": 77.3,
    }


def test_published_rows_are_those_of_the_same_design():
    names = {design: [row.name for row in published_for(["a150"], [design])] for design in ("CVPR'24", "2023")}
    assert names["CVPR'24"] == ["CAT-Seg ViT-B/16", "CAT-Seg ViT-L/14"]
    assert len(names["2023"]) == 12
    assert all("2023" in name or name.startswith("paper: ") for name in names["2023"])
    assert published_for(["a150"], ["other"]) == ()
    assert published_for(["a150"], ["2023", ""]) == PUBLISHED  # results of before the design was recorded
    results = [{"key": "a150", "metrics": {"mIoU": 1.0, "mIoU_old": 2.0}, "protocol": {"design": "2023"}}]
    assert [row.design for row in result_rows("ours", results)] == ["2023", "2023"]


def test_text():
    assert render(ROWS).splitlines() == [
        "mIoU           A-847  A-150  PAS-20  my_set",
        "-------------------------------------------",
        "ours & theirs  12.00      -   94.57       -",
        "other              -   31.8       -     1.0",
    ]


def test_markdown():
    lines = render(ROWS, "markdown", columns=["a847"]).splitlines()
    assert lines == ["| mIoU | A-847 |", "|---|---:|", "| ours & theirs | 12.00 |", "| other | - |"]


def test_latex_escapes():
    assert r"ours \& theirs & 12.00 \\" in render(ROWS, "latex", columns=["a847"])


def test_csv_and_json_keep_full_precision_and_sources():
    lines = list(csv.reader(io.StringIO(render(ROWS, "csv"))))
    assert lines[1] == ["ours & theirs", "12.0", "", "94.567", "", "this run"]
    assert lines[2][-1] == "a paper"
    table = json.loads(render(ROWS, "json"))
    assert table["rows"][0]["mIoU"] == {"a847": 12.0, "a150": None, "pas20": 94.567, "my_set": None}


def test_unknown_format():
    with pytest.raises(ValueError, match=r"unknown table format 'pdf'; expected one of text, markdown"):
        render(ROWS, "pdf")


def test_all_formats_are_written(tmp_path):
    assert sorted(path.name for path in write_tables(tmp_path, ROWS)) == sorted(
        path.name for path in tmp_path.iterdir()
    )
    assert len(list(tmp_path.iterdir())) == 5


def test_details():
    record = {
        "title": "A-847",
        "metrics": {"mIoU": 12.345, "N_gt": 840},
        "timing": {
            "images_per_second": 3.21,
            "shares": {"model": 0.8, "resize": 0.12345, "metric": 0.004, "io": 0.05, "other": 0.02255},
        },
        "protocol": {"dataset": {"images": 2000}},
    }
    head, _, line = render_details([record]).splitlines()
    assert head.split("images/s")[1].split("  ")[1:] == ["model %", "resize %", "metric %", "io %"]
    assert line.split() == ["A-847", "12.35", "840", "2000", "3.21", "80.0", "12.3", "0.4", "5.0"]


def test_a_result_of_an_earlier_version_may_lack_a_stage():
    record = {"timing": {"shares": {"model": 0.9, "metric": 0.0, "io": 0.1, "other": 0.0}}}
    assert time_shares(record) == ["90.0", "-", "0.0", "10.0"]
