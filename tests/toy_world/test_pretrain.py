import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from physseg.toy_world import pretrain
from physseg.toy_world.clip import WEIGHTS_PATH, load_toy_clip_state_dict


def test_pools_depend_on_seed_and_number_alone():
    first, again, other = (pretrain.make_pool(0, number, 3, 2) for number in (0, 0, 1))
    np.testing.assert_array_equal(first[0][0], again[0][0])
    assert first[1][1] == again[1][1]
    assert (first[0][0] != other[0][0]).any()
    assert first[0][0].shape == (3, 48, 48, 3)
    assert first[1][0].shape == (2, 96, 96, 3)
    assert first[1][3].shape == (2, 144)


SHORT = pretrain.Recipe(
    steps=2,
    warmup=1,
    crop_batch=4,
    picture_batch=2,
    pool_crops=8,
    pool_pictures=4,
    eval_every=1,
    eval_count=3,
    final_count=3,
)


def test_a_run_writes_loadable_weights_log_and_metrics(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "worker_pool", _InProcess)
    weights, log, metrics = (tmp_path / name for name in ("w.safetensors", "log.jsonl", "metrics.json"))
    result = pretrain.pretrain(SHORT, weights, log, metrics)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2]
    assert result == json.loads(metrics.read_text())
    assert set(result["zero_shot"]) == {"objects", "backgrounds", "patches"}
    assert load_toy_clip_state_dict(weights)["token_embedding.weight"].shape == (49408, 128)


def test_a_run_goes_on_from_weights(tmp_path, monkeypatch):
    """With no learning rate, the weights that come out are those that went in."""
    monkeypatch.setattr(pretrain, "worker_pool", _InProcess)
    still = replace(SHORT, steps=1, learning_rate=0.0, seed=5)
    outputs = [tmp_path / name for name in ("w.safetensors", "log.jsonl", "metrics.json")]
    pretrain.pretrain(still, *outputs, start=WEIGHTS_PATH)
    found, expected = load_toy_clip_state_dict(outputs[0]), load_toy_clip_state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_kept_parts_stay_and_the_rest_starts_anew(tmp_path, monkeypatch):
    """With no patch loss and a learning rate: four image blocks and the text tower are as they were, others are not."""
    monkeypatch.setattr(pretrain, "worker_pool", _InProcess)
    outputs = [tmp_path / name for name in ("w.safetensors", "log.jsonl", "metrics.json")]
    pretrain.pretrain(replace(SHORT, kept_blocks=4, patch_weight=0.0), *outputs, start=WEIGHTS_PATH)
    found, expected = load_toy_clip_state_dict(outputs[0]), load_toy_clip_state_dict()
    changed = {name for name in expected if not torch.equal(found[name], expected[name])}
    later = ("visual.transformer.resblocks.4.", "visual.transformer.resblocks.5.", "visual.ln_post.", "visual.proj")
    assert changed == {name for name in expected if name.startswith((*later, "logit_scale"))}
    assert "loss_patches" not in json.loads(outputs[1].read_text().splitlines()[0])


def test_a_pool_that_holds_no_batch_is_refused():
    with pytest.raises(ValueError, match="pool_pictures is 47, less than picture_batch, 48"):
        pretrain.Recipe(pool_pictures=47)


def test_weights_of_another_model_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors holds no toy CLIP"):
        pretrain.pretrain(pretrain.Recipe(), *(tmp_path / name for name in "abc"), tmp_path / "other.safetensors")


def test_weights_of_other_words_are_refused(tmp_path):
    state = load_file(WEIGHTS_PATH)
    save_file(state | {"token_ids": state["token_ids"] + 1}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors was made with other names"):
        pretrain.pretrain(SHORT, tmp_path / "w", tmp_path / "l", tmp_path / "m", start=tmp_path / "other.safetensors")


class _InProcess:
    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *arguments):
        value = function(*arguments)
        return type("Done", (), {"result": lambda _: value})()
