import json

import pytest
import torch

from physseg.cli import evaluate as tool
from physseg.cli.boundary import run_program
from physseg.inference.models import find_model


@pytest.fixture
def run_tool(model, cfg, benchmarks, tmp_path, monkeypatch):
    """The tool's main with the fake model, whose one weight comes from the checkpoint's name."""

    def load(target, weights):
        with torch.no_grad():
            target.shift.fill_(float(weights.rsplit("_", 1)[1].removesuffix(".pth")))

    monkeypatch.setattr(tool, "load_config", lambda file, opts: cfg)
    monkeypatch.setattr(tool, "build_model", lambda cfg: model)
    monkeypatch.setattr(tool, "load_weights", load)
    model.text_features = lambda names: torch.nn.functional.one_hot(torch.arange(len(names)), 16).float()[:, None]
    start = ["--config-file", "x.yaml", "--results", str(tmp_path / "out"), "--benchmarks", *benchmarks]
    return lambda *more: run_program("evaluate", [*start, *more])


def test_evaluates_and_writes_everything(run_tool, benchmarks, tmp_path, capsys):
    assert run_tool("--weights", "model_0.pth", "--save-pictures", "2") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"table.txt", "table.md", "table.csv", "table.tex", "table.json", "report.html", "log.txt"} <= names
    assert {f"{benchmarks[0]}.json", f"{benchmarks[0]}.pictures"} <= names
    printed = capsys.readouterr().out
    assert "model_0, old mIoU definition" in printed
    record = json.loads((tmp_path / "out" / f"{benchmarks[1]}.json").read_text())
    assert record["protocol"]["weights"] == "model_0.pth"
    assert len(record["seen_unseen"]["by_similarity"]["similarity"]) == 2


def test_two_checkpoints_side_by_side(run_tool, benchmarks, tmp_path):
    assert run_tool("--weights", "model_1.pth", "--compare-weights", "model_0.pth", "--save-pictures", "2") == 0
    shown = [
        [entry["name"] for entry in json.loads((folder / f"{benchmarks[0]}.pictures" / "pictures.json").read_text())]
        for folder in (tmp_path / "out", tmp_path / "out" / "compared")
    ]
    assert shown[0] == shown[1]
    assert len(shown[0]) == 2
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [row["name"] for row in table["rows"]][::2] == ["model_0", "model_1"]


def test_checkpoints_of_one_name_are_told_apart():
    assert tool.run_names(["a/model_final.pth", "b/model_final.pth"]) == ["a/model_final", "b/model_final"]
    assert tool.run_names(["a/model_1.pth", "b/model_2.pth"]) == ["model_1", "model_2"]
    assert tool.run_names([""]) == ["untrained"]


def test_overrides_after_the_list_of_benchmarks():
    args = tool.parse(["--config-file", "f", "--benchmarks", "a847", "pc459", "TEST.SLIDING_WINDOW", "True"])
    assert args.benchmarks == ["a847", "pc459"]
    assert args.opts == ["TEST.SLIDING_WINDOW", "True"]
    assert tool.parse(["--config-file", "f", "SEED", "1"]).opts == ["SEED", "1"]


def test_a_model_by_name_or_by_config():
    config_file, weights = tool.chosen(tool.parse(["--model", "toy"]))
    assert str(config_file) == find_model("toy").config
    assert weights == str(find_model("toy").path)
    # A config alone is evaluated as it is: CLIP alone has no other weights.
    assert tool.chosen(tool.parse(["--config-file", "clip_alone/toy"])) == ("clip_alone/toy", None)
    with pytest.raises(ValueError, match="give either --model or --config-file"):
        tool.chosen(tool.parse(["--model", "toy", "--config-file", "toy"]))


def test_ones_own_data_by_name(run_tool, cfg, benchmarks, tmp_path):
    folders = {"images": str(tmp_path / "images"), "labels": str(tmp_path / "labels")}
    cfg.DATASETS.CUSTOM = [{"name": "physseg_test_mine", **folders, "classes": ["sky", "grass", "cow"]}]
    assert run_tool("physseg_test_mine", "--weights", "model_0.pth") == 0
    records = [
        json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("physseg_test_mine", benchmarks[0])
    ]
    assert records[0]["metrics"] == records[1]["metrics"]


def test_unknown_benchmark(capsys):
    assert run_program("evaluate", ["--config-file", "toy", "--benchmarks", "a151"]) == 1
    assert "no benchmark 'a151'; expected a847, pc459" in capsys.readouterr().err


def test_missing_config(capsys):
    assert run_program("evaluate", ["--config-file", "nowhere.yaml"]) == 1
    assert "nowhere.yaml" in capsys.readouterr().err
