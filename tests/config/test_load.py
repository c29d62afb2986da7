from pathlib import Path

import pytest
import yaml

from physseg.config import load_config

CONFIGS = sorted(Path("configs").glob("*.yaml"))


def write(folder, text, name="config.yaml"):
    path = folder / name
    path.write_text(text)
    return path


def test_defaults_are_the_recipe():
    cfg = load_config(None)
    assert cfg.MODEL.META_ARCHITECTURE == "PhysSeg"
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.CLIP_MULTIPLIER, cfg.SOLVER.IMS_PER_BATCH) == (2e-4, 0.01, 4)
    assert (cfg.MODEL.PATCH_ALIGNMENT.ENABLED, cfg.MODEL.STRUCTURE.ENABLED) == (False, False)
    cfg.SOLVER.BASE_LR = 1.0  # not frozen


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_load(path):
    cfg = load_config(path)
    assert cfg.MODEL.META_ARCHITECTURE == "PhysSeg"
    additions = path.stem.startswith("physseg_") or path.stem == "toy"
    assert additions == (cfg.MODEL.STRUCTURE.ENABLED and cfg.MODEL.PATCH_ALIGNMENT.ENABLED)
    # A token grid of whole windows, for each CLIP: 24x24, or the toy's.
    assert cfg.MODEL.CLIP.IMAGE_SIZE in (384, 336, 96)


def test_base_files_are_merged_child_last(tmp_path):
    write(tmp_path, "SOLVER: {MAX_ITER: 7, BASE_LR: 1.0}", "grandparent.yaml")
    write(tmp_path, "_BASE_: grandparent.yaml\nSOLVER: {MAX_ITER: 8}", "parent.yaml")
    write(tmp_path, "SEED: 5", "other.yaml")
    cfg = load_config(write(tmp_path, "_BASE_: [parent.yaml, other.yaml]\nSOLVER: {IMS_PER_BATCH: 2}"))
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.SOLVER.IMS_PER_BATCH, cfg.SEED) == (8, 1.0, 2, 5)


def test_overrides_come_from_the_shell_as_strings(tmp_path):
    opts = ["SOLVER.BASE_LR", "1", "MODEL.TEXT.VOCABULARY", "59", "DATASETS.TEST", "['a', 'b']", "SOLVER.STEPS", "[3]"]
    cfg = load_config("", opts, tmp_path)
    assert (cfg.SOLVER.BASE_LR, type(cfg.SOLVER.BASE_LR)) == (1.0, float)
    assert cfg.MODEL.TEXT.VOCABULARY == "59"
    assert cfg.DATASETS.TEST == ("a", "b")
    assert cfg.SOLVER.STEPS == (3,)
    assert str(tmp_path) == cfg.OUTPUT_DIR


def test_yaml_reads_exponents_without_a_dot_as_numbers(tmp_path):
    assert load_config(write(tmp_path, "SOLVER: {BASE_LR: 2e-5}")).SOLVER.BASE_LR == 2e-5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SOLVER: {BASE_RL: 1}", r"config.yaml: unknown config key SOLVER.BASE_RL. Did you mean SOLVER.BASE_LR"),
        ("PATCH_ALIGNMENT: {ENABLED: True}", r"PATCH_ALIGNMENT.ENABLED. Did you mean MODEL.PATCH_ALIGNMENT.ENABLED"),
        ("SOLVER: {BASE_LR: fast}", r"config.yaml: SOLVER.BASE_LR must be a number, .*above 0.*; got 'fast'\."),
        ("SOLVER: {MAX_ITER: 1.5}", r"SOLVER.MAX_ITER must be a whole number, 1 or more; got 1.5\."),
        ("MODEL: {STRUCTURE: {ENABLED: 1}}", r"MODEL.STRUCTURE.ENABLED must be True or False; got 1\."),
        ("DATASETS: {TEST: a150}", r"DATASETS.TEST must be a list, .*; got 'a150'. Write a list: \['a150'\]"),
        (
            "MODEL: {TEXT: {VOCABULARY: 59}}",
            r"VOCABULARY must be text of one line, or empty; got 59. Put it in quotes\.",
        ),
        ("MODEL: {CLIP: ViT-B-16}", r"MODEL.CLIP is a section with keys of its own \(NAME, "),
        ("SOLVER: {BASE_LR: {X: 1}}", r"unknown config key SOLVER.BASE_LR.X"),
        ("[1, 2]", r"expected a YAML mapping of config keys, got list"),
        ("SOLVER: {MAX_ITER", r"not valid YAML"),
        ("SEED: !!python/object/apply:os.system ['echo it ran']", r"only plain YAML is read, no Python objects"),
        ("SEED: -1", r"SEED must be a whole number, 0 or more; got -1\."),
        (
            "SOLVER: {ACCUMULATION_STEPS: 3}",
            r"IMS_PER_BATCH must be a positive multiple of SOLVER.ACCUMULATION_STEPS; got .*BATCH 4, .*STEPS 3",
        ),
        ("SOLVER: {AMP: {DTYPE: fp8}}", r'SOLVER.AMP.DTYPE must be "bf16" or "fp16"; got \'fp8\''),
        (
            "{MODEL: {DEVICE: cpu}, SOLVER: {AMP: {ENABLED: True, DTYPE: fp16}}}",
            r'must be "bf16" where MODEL.DEVICE is',
        ),
        ("SOLVER: {CLIP_GRADIENTS: {CLIP_TYPE: all}}", r'must be "full_model", "norm" or "value"; got \'all\''),
    ],
)
def test_mistakes_are_named(text, message, tmp_path, capfd):
    with pytest.raises(ValueError, match=message):
        load_config(write(tmp_path, text))
    assert "it ran" not in capfd.readouterr().out


def test_the_base_file_at_fault_is_named(tmp_path):
    write(tmp_path, "SOLVER: {NOPE: 1}", "parent.yaml")
    with pytest.raises(ValueError, match=r"parent.yaml: unknown config key SOLVER.NOPE"):
        load_config(write(tmp_path, "_BASE_: parent.yaml"))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"Config file not found: nowhere.yaml. Shipped configs are in configs/"
    ):
        load_config("nowhere.yaml")
    with pytest.raises(FileNotFoundError, match=r"gone.yaml \(the _BASE_ of .*config.yaml\)"):
        load_config(write(tmp_path, "_BASE_: gone.yaml"))


def test_a_config_cannot_inherit_from_itself(tmp_path):
    with pytest.raises(ValueError, match="inherits from itself"):
        load_config(write(tmp_path, "_BASE_: config.yaml"))


def test_overrides_come_in_pairs():
    with pytest.raises(ValueError, match=r"Overrides come in pairs, KEY VALUE; got 1 word: SEED"):
        load_config(None, ["SEED"])


def test_config_survives_its_own_dump(tmp_path):
    cfg = load_config("configs/physseg_vitb16.yaml")
    again = load_config(write(tmp_path, cfg.dump()))
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())
