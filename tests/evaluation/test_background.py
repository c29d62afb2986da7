"""Benchmarks with a background class: the threshold, and how results state a training-free protocol."""

import pytest
import torch

from physseg import load_config
from physseg.data.overrides import config_of_dataset
from physseg.evaluation.evaluator import SegmentationEvaluator
from physseg.evaluation.protocol import inference_mode, training_free
from physseg.evaluation.tables import protocol_lines, result_rows

SCORES = torch.tensor([[[0.1, 0.7, 0.3]], [[0.6, 0.1, 0.35]], [[0.2, 0.2, 0.2]]])


def evaluator(background, threshold):
    return SegmentationEvaluator("x", ["background", "a", "b"], 255, {}, background=background, threshold=threshold)


@pytest.mark.parametrize(
    ("background", "threshold", "expected"),
    [(0, 0.0, [1, 0, 1]), (0, 0.5, [1, 0, 0]), (0, 0.65, [0, 0, 0]), (2, 0.65, [2, 0, 2]), (None, 0.65, [1, 0, 1])],
)
def test_what_is_unsure_is_background(background, threshold, expected):
    found = evaluator(background, threshold)
    assert found.labels_of({"sem_seg": SCORES})[0].tolist() == expected
    scores, labels = SCORES.max(dim=0)
    assert found.labels_of({"labels": labels, "scores": scores})[0].tolist() == expected


def record(trained):
    cfg = load_config("configs/clip_alone/naclip_vitb16.yaml", ["TEST.BACKGROUND_THRESHOLD", 0.1])
    if trained:
        cfg = load_config("configs/toy.yaml")
    protocol = {"inference": inference_mode(cfg), "synonyms": cfg.MODEL.TEXT.SYNONYMS}
    protocol |= training_free(cfg, ["sky, wall", "cat"])
    return {"key": "voc21", "title": "VOC-21", "metrics": {"mIoU": 2.0, "mIoU_old": 1.0}, "protocol": protocol}


def test_the_literatures_metric_comes_first_for_its_methods():
    assert [row.values["voc21"] for row in result_rows("x", [record(trained=False)])] == [1.0, 2.0]
    assert [row.values["voc21"] for row in result_rows("x", [record(trained=True)])] == [2.0, 1.0]


def test_results_state_their_protocol():
    (line,) = protocol_lines([record(trained=False), record(trained=True)])
    assert line.startswith("VOC-21: naclip, window 224, stride 112 (short side 336, ")
    assert "scale 40, synonyms by max, background below 0.1; names: sky, wall; cat" in line


def test_a_model_of_groups_states_its_rules():
    override = ["toy_voc21", "MODEL.GROUPS.BACKGROUND_THRESHOLD", 0.8]
    cfg = load_config("configs/without_masks/segclip_toy.yaml", ["TEST.OVERRIDES", [override]])
    cfg = config_of_dataset(cfg, "toy_voc_21_val_sem_seg")
    protocol = {"inference": inference_mode(cfg), "synonyms": "first"} | training_free(cfg, ["background", "cat"])
    (line,) = protocol_lines([{"title": "toy VOC-21", "protocol": protocol}])
    assert line == (
        "toy VOC-21: SegCLIP, window 96, stride 96 (short side 96, at most 2560), scale learnt, synonyms by first, "
        "best 5 classes of a window, background below 0.8; names: background; cat"
    )
