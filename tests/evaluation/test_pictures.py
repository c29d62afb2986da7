import json

import numpy as np
import pytest
import torch
from PIL import Image

from physseg.evaluation.evaluator import build_evaluator
from physseg.evaluation.image_counts import ImageCounts
from physseg.evaluation.pictures import (
    IGNORED,
    PANELS,
    RIGHT,
    WRONG,
    choose_evenly,
    most_different,
    read_image_counts,
    render_panels,
    save_pictures,
)
from physseg.evaluation.runner import run_benchmarks


def test_even_choice_is_spread_and_repeatable():
    names = [f"{i:02d}" for i in range(11)]
    assert choose_evenly(names[::-1], 3) == ["00", "05", "10"]
    assert choose_evenly(names, 99) == names


def test_the_most_different_images_come_first():
    def counts(name, right):
        return ImageCounts(name, [0, 0], [0, 1], [right, 10 - right])

    first = {name: counts(name, right) for name, right in (("a", 5), ("b", 9), ("c", 5))}
    second = {name: counts(name, right) for name, right in (("a", 6), ("b", 1), ("c", 5), ("d", 5))}
    assert most_different(first, second, 2) == ["b", "a"]


def test_pictures_of_a_benchmark(model, cfg, benchmarks, tmp_path):
    out = tmp_path / "out"
    run_benchmarks(model, cfg, benchmarks, out)
    names = choose_evenly(read_image_counts(out, benchmarks[1]), 2)
    index = save_pictures(model, cfg, benchmarks[1], names, out)
    entries = json.loads(index.read_text())
    assert [entry["name"] for entry in entries] == ["img_0", "img_4"]
    assert list(entries[1]["panels"]) == list(PANELS)
    for file in entries[1]["panels"].values():
        assert Image.open(index.parent / file).size == (20, 12)


def test_comparing_needs_a_finished_benchmark(tmp_path):
    with pytest.raises(FileNotFoundError, match="evaluate a847 into that folder first"):
        read_image_counts(tmp_path, "a847")


def test_panels(cfg, benchmarks, tmp_path):
    # Classes sky, cow, background; prompts sky, cow, tree, wall: the last two fold into background.
    evaluator = build_evaluator(cfg, benchmarks[1])
    name = next(iter(evaluator.label_files))
    truth = np.full((12, 16), 1, np.uint8)
    truth[:, 8:] = 2
    truth[:2] = 255
    Image.fromarray(truth).save(evaluator.label_files[name])
    scores = torch.zeros(4, 12, 16)
    scores[0], scores[1], scores[3] = 0.9, 0.5, 0.2
    scores[3, :, 8:] = 0.95
    panels, legend = render_panels(evaluator, name, scores, (12, 16))
    # Sky is likelier than cow on the left, but sky is not annotated.
    assert [(item["name"], item["in"]) for item in legend] == [
        ("cow", ["truth", "annotated"]),
        ("background", ["truth", "annotated", "all"]),
        ("sky", ["all"]),
    ]
    errors = panels["errors"]
    assert (errors[:2] == IGNORED).all()
    assert (errors[2:, :8] == WRONG).all()
    assert (errors[2:, 8:] == RIGHT).all()
    # Unlabelled pixels show the image in the panel of annotated classes.
    np.testing.assert_array_equal(panels["annotated"][0], panels["image"][0])


def test_large_images_are_predicted_at_picture_size(model, cfg, benchmarks, tmp_path):
    asked = []

    def watching(inputs):
        asked.extend((x["height"], x["width"], x.get("output")) for x in inputs)
        return model(inputs)

    names = list(build_evaluator(cfg, benchmarks[0]).label_files)[:1]
    save_pictures(watching, cfg, benchmarks[0], names, tmp_path, side=8)
    assert asked == [(6, 8, None)]
