"""What torch.hub finds in the project's folder."""

from pathlib import Path

import pytest
import torch

ROOT = str(Path(__file__).resolve().parents[1])


def test_a_model_by_name():
    predictor = torch.hub.load(ROOT, "toy", source="local", vocabulary=["red disc"], device="cpu")
    assert predictor.vocabulary == ["red disc"]


def test_published_models_are_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PHYSSEG_HOME", str(tmp_path))
    with pytest.raises(ConnectionError, match=r"model_large.pth"):
        torch.hub.load(ROOT, "catseg_vitl14", source="local")
