"""KEY VALUE pairs of the command line."""

import pytest

from physseg.config import load_config


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SEED"], r"Overrides come in pairs, KEY VALUE; got 1 word: SEED"),
        (["SEED", "1", "SOLVER.MAX_ITER"], r"got 3 words: SEED 1 SOLVER.MAX_ITER"),
        (["SEED=1"], r"got 1 word: SEED=1. Write key and value as two words: SEED 1"),
        (["SEED=1", "SOLVER.MAX_ITER=3"], r"'SEED=1' is no key; write key and value as two words, SEED 1"),
        (["--num-gpus", "2"], r"'--num-gpus' is no key; options such as --num-gpus come before the first KEY VALUE"),
        (["BASE_LR", "1"], r"unknown config key BASE_LR. Did you mean .*SOLVER.BASE_LR"),
        (["solver.base_lr", "1"], r"unknown config key solver.base_lr. Did you mean SOLVER.BASE_LR"),
        (["SOLVER.BASE_RL", "1"], r"Did you mean SOLVER.BASE_LR"),
        (["MODEL.STRUCTURE.ENABELD", "True"], r"Did you mean MODEL.STRUCTURE.ENABLED"),
        (["SOLVER.", "1"], r"unknown config key SOLVER\.\."),
        (["SOLVER", "1", "SOLVER.MAX_ITER", "5"], r"SOLVER is a section with keys of its own .*; got '1'"),
        (["", "1"], r"unknown config key ''"),
        (["QQQQQQQQ", "1"], r"unknown config key QQQQQQQQ. All keys are in docs/config.md"),
        (["MODEL.RPN.NMS_THRESH", "high"], r"must be of type float, as its default 0.7; got 'high'"),
        (["DATASETS.TEST", "[a150, pc59]"], r"Write a list: \['a150', 'pc59'\]"),
        (["DATASETS.TEST", "a150, pc59"], r"Write a list: \['a150', 'pc59'\]"),
        (["TEST.OVERRIDES", "[[voc21, SEED, 1]]"], r"Write a list: \[\['voc21', 'SEED', 1\]\]"),
        (["DATASETS.TEST", "[{"], r"Write a list: \['\[\{'\]"),
        (["MODEL.STRUCTURE.SOURCES", "['cany']"], r"Did you mean canny\?"),
        (["MODEL.CLIP.NAME", "ViT-B16"], r"MODEL.CLIP.NAME must be a model that open_clip lists; .* mean ViT-B-16"),
        (["MODEL.META_ARCHITECTURE", "Physseg"], r"must be a registered meta-architecture.*Did you mean PhysSeg\?"),
    ],
)  # fmt: skip
def test_mistakes_are_named(words, message):
    with pytest.raises(ValueError, match=message):
        load_config(None, words)


def test_all_are_told_at_once():
    words = ["SEED", "-1", "SOLVER.BASE_RL", "1", "SOLVER.IMS_PER_BATCH", "3", "SOLVER.ACCUMULATION_STEPS", "2"]
    with pytest.raises(ValueError, match="3 mistakes in the config") as error:
        load_config(None, words)
    assert [line.split(" ")[0] for line in str(error.value).splitlines()[1:]] == ["-"] * 3
    for part in (
        "SEED must be",
        "unknown config key SOLVER.BASE_RL",
        "SOLVER.IMS_PER_BATCH must be a positive multiple",
    ):
        assert part in str(error.value)


def test_of_a_key_that_comes_twice_the_last_holds():
    assert load_config(None, ["SEED", "1", "SEED", "2"]).SEED == 2


def test_a_separator_is_passed_over():
    assert load_config(None, ["--", "SEED", "3"]).SEED == 3


def test_values_of_python_are_taken_too(tmp_path):
    cfg = load_config(None, ["MODEL.WEIGHTS", tmp_path, "MODEL.PIXEL_MEAN", (1, 2, 3), "SOLVER.BASE_LR", 1])
    assert str(tmp_path) == cfg.MODEL.WEIGHTS
    assert (cfg.MODEL.PIXEL_MEAN, cfg.SOLVER.BASE_LR) == ([1.0, 2.0, 3.0], 1.0)


def test_keys_that_nothing_reads_are_named(caplog):
    load_config(None, ["MODEL.RPN.NMS_THRESH", "0.5", "SOLVER.MOMENTUM", "0.5", "SOLVER.GAMMA", "0.5"])
    assert "Set, but read by nothing in physseg: MODEL.RPN.NMS_THRESH, SOLVER.MOMENTUM." in caplog.text
    caplog.clear()
    load_config(None, ["MODEL.GUIDANCE", "backbone", "MODEL.RESNETS.DEPTH", "101"])
    assert not caplog.records
