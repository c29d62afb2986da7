import json
import re
import xml.etree.ElementTree as ET

import pytest
import torch
from detectron2.data import DatasetCatalog

from physseg.evaluation.pictures import save_pictures
from physseg.evaluation.report import Run, read_curves, write_report
from physseg.evaluation.report.charts import line_chart, scatter_chart
from physseg.evaluation.runner import run_benchmarks
from physseg.evaluation.tables import Row


def test_curves_survive_a_torn_line_and_a_resumed_run(tmp_path):
    path = tmp_path / "metrics.json"
    lines = [
        {"iteration": 0, "total_loss": 2.0},
        {"iteration": 20, "total_loss": 9.0},
        {"iteration": 20, "total_loss": 1.0},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"iteration": 40, "tot')
    assert read_curves(path) == {"total_loss": [(0, 2.0), (20, 1.0)]}


def path_points(chart, series):
    """Points of a series' path in the drawing's coordinates."""
    (group,) = (g for g in ET.fromstring(chart.svg).iter("g") if g.get("data-series") == series)
    return [tuple(map(float, p)) for p in re.findall(r"[ML] (\S+) (\S+)", next(group.iter("path")).get("d"))]


def test_line_chart_draws_its_finite_points():
    chart = line_chart({"loss": [(0, 1.0), (10, 0.0), (20, float("nan")), (20, 0.5)]}, "iteration", "loss")
    (x0, y0), (x1, y1), (x2, y2) = path_points(chart, "0")
    assert x0 < x1 < x2
    assert x2 - x1 == pytest.approx(x1 - x0)
    assert y2 - y0 == pytest.approx((y1 - y0) / 2)
    assert y1 > y0  # SVG counts downwards
    assert chart.key == [("loss", "var(--series-0)")]
    assert line_chart({"loss": []}, "x", "y") is None
    assert path_points(line_chart({"flat": [(0, 1.0), (1, 1.0)]}, "x", "y"), "0")


def test_scatter_chart_names_its_points_and_escapes_them():
    groups = {"none": [], "seen": [(0.5, 50.0, "a<b"), (0.25, 100.0, "c")], "unseen": [(0.1, float("nan"), "d")]}
    chart = scatter_chart(groups, "cosine", "IoU")
    assert "a&lt;b: 50.0 at 0.500" in chart.svg
    titles = {point.find("title").text: point for point in ET.fromstring(chart.svg).iter("use") if len(point)}
    assert list(titles) == ["a<b: 50.0 at 0.500", "c: 100.0 at 0.250"]
    x, y = ([float(point.get(axis)) for point in titles.values()] for axis in "xy")
    assert x[0] > x[1]
    assert y[0] > y[1]
    assert scatter_chart({"seen": []}, "x", "y") is None


def test_charts_take_their_colours_from_the_page():
    svg = line_chart({"loss": [(0, 1.0), (1, 2.0)]}, "iteration & more", "loss").svg
    assert "var(--soft)" in svg
    assert "iteration &amp; more" in svg
    assert "<style" not in svg
    assert not re.search(r"(fill|stroke|color): *#", svg)
    assert svg == line_chart({"loss": [(0, 1.0), (1, 2.0)]}, "iteration & more", "loss").svg


def test_report_is_one_file_with_everything_in_it(model, cfg, benchmarks, tmp_path):
    vectors = torch.nn.functional.normalize(torch.randn(40, 8), dim=1)
    known: dict[str, int] = {}

    def encode(names):
        return torch.stack([vectors[known.setdefault(name, len(known))] for name in names])

    runs = []
    for shift, name in enumerate(("start", "trained <b>")):
        with torch.no_grad():
            model.shift.fill_(shift)
        folder = tmp_path / str(shift)
        results = run_benchmarks(model, cfg, benchmarks, folder, encode=encode)
        files = [x["file_name"] for x in DatasetCatalog.get(benchmarks[0])]
        save_pictures(model, cfg, benchmarks[0], files[:2], folder)
        runs.append(Run(name, results, folder))
    metrics = tmp_path / "metrics.json"
    metrics.write_text("\n".join(json.dumps({"iteration": i, "total_loss": 1 / (i + 1)}) for i in range(5)))
    page = write_report(tmp_path / "report.html", runs, metrics_file=metrics, extra_rows=[Row("a paper's", {"x": 1.0})])
    text = page.read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", text)
    assert "http" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.S)
    assert text.count("data:image/") == 2 * 2 * 5
    assert "trained &lt;b&gt;" in text
    assert "<b>" not in text
    for part in ("Benchmarks", "Training", "Seen and unseen classes", "Per class", "Pictures", "Protocol"):
        assert f"<h2>{part}</h2>" in text
    assert text.count("<svg") == 1 + len(benchmarks)
    assert text.count("<div") == text.count("</div>")
    for stage, share in results[1]["timing"]["shares"].items():
        assert stage == "other" or (f"<th>{stage} %</th>" in text and f"<td>{100 * share:.1f}</td>" in text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "3", "null", "text", "[" * 10**5, '{"iteration": "1"}', '{"total_loss": 1}'),
        '{"iteration": 1}\n[1]\n{"iteration": 2}',
        '{"iteration": 1}\nnothing\n{"iteration": 2}',
    ],
)
def test_another_file_than_metrics_json_is_refused_by_line(text, tmp_path):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(ValueError, match=r"metrics.json, line \d: expected a JSON object with \"iteration\""):
        read_curves(tmp_path / "metrics.json")


def test_curves_of_an_interrupted_run(tmp_path):
    lines = ['{"iteration": 0, "loss": 2.0}', '{"iteration": 1, "loss": NaN}', '{"iteration": 0, "loss": 3}', '{"itera']
    (tmp_path / "metrics.json").write_text("\n".join(lines))
    assert read_curves(tmp_path / "metrics.json") == {"loss": [(0, 3)]}


@pytest.mark.parametrize("part", ["Training", "Pictures"])
def test_parts_without_content_are_left_out(model, cfg, benchmarks, tmp_path, part):
    results = run_benchmarks(model, cfg, benchmarks[:1], tmp_path)
    page = write_report(tmp_path / "report.html", [Run("run", results, tmp_path)])
    assert f"<h2>{part}</h2>" not in page.read_text()
