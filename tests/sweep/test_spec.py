from pathlib import Path

import pytest

from physseg.config import load_config
from physseg.sweep.spec import load_sweep


def write(folder, text):
    (folder / "base.yaml").write_text("SOLVER: {MAX_ITER: 5}")
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def test_runs_times_grid_times_seeds(tmp_path):
    text = """
    base: base.yaml
    seeds: [3, 4]
    set: {SOLVER: {IMS_PER_BATCH: 2}, TEST.EVAL_PERIOD: 0}
    runs:
      - name: none
      - {name: on & off, set: {MODEL: {STRUCTURE: {ENABLED: True, SOURCES: [canny, sift]}}}}
    grid: {SOLVER.BASE_LR: [0.1, 0.2]}
    baseline: none, SOLVER.BASE_LR=0.2
    """
    sweep = load_sweep(write(tmp_path, text))
    assert [row.name for row in sweep.rows] == [
        "none, SOLVER.BASE_LR=0.1",
        "none, SOLVER.BASE_LR=0.2",
        "on & off, SOLVER.BASE_LR=0.1",
        "on & off, SOLVER.BASE_LR=0.2",
    ]
    assert sweep.folder == Path("output/sweeps/sweep")
    assert [(run.row.name, run.seed) for run in sweep.runs][3:5] == [(sweep.rows[3].name, 3), (sweep.rows[0].name, 4)]
    last = sweep.runs[-1]
    assert last.folder == sweep.folder / "on_off_SOLVER.BASE_LR=0.2" / "seed4"
    assert last.arguments[:3] == ["--config-file", str(tmp_path / "base.yaml"), "--resume"]
    assert last.opts == [
        "SOLVER.IMS_PER_BATCH", "2", "TEST.EVAL_PERIOD", "0", "MODEL.STRUCTURE.ENABLED", "True",
        "MODEL.STRUCTURE.SOURCES", "['canny', 'sift']", "SOLVER.BASE_LR", "0.2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: base.yaml\nrun: []", r"sweep.yaml: unknown key run; known are base, "),
        ("runs: [{name: a}]", r"base is missing"),
        ("base: base.yaml", r"neither runs nor grid"),
        ("base: base.yaml\nruns: [{name: a}, {name: a}]", r"two runs are called 'a'"),
        ("base: base.yaml\nruns: [{name: off}]", r"a run's name must be text; put False in quotes"),
        ("base: base.yaml\nruns: [a]", r"each of runs has a name and, below set, its overrides; got 'a'"),
        ("base: base.yaml\nruns: [{name: a}]\nbaseline: b", r"baseline 'b' is no run; runs are a"),
        ("base: base.yaml\nruns: [{name: a}]\nseeds: 3", r"seeds must be a list of integers from 0 on; got 3"),
        ("base: base.yaml\nruns: [{name: a}]\nseeds: [1, 1]", r"seeds has one twice"),
        ("base: base.yaml\ngrid: {SEED: 1}", r"grid SEED must have a list of values; got 1"),
        ("base: base.yaml\ngrid: {SOLVER.LR: [1]}", r"run 'SOLVER.LR=1': command-line overrides: unknown config key"),
        ("[1]", r"expected a YAML mapping of config keys, got list"),
        ("base: base.yaml\nseed: [1]", r"unknown key seed; .* Did you mean seeds"),
        ("base: [base.yaml]\nruns: [{name: a}]", r"base must be text of one line; got \['base.yaml'\]"),
        ("base: base.yaml\nruns: {name: a}", r"runs must be a list of runs"),
        ("base: base.yaml\nruns: [{name: ''}]", r"a run's name must be one line"),
        ("base: base.yaml\nruns: [{name: ' '}]", r"a run's name must be one line"),
        ('base: base.yaml\nruns: [{name: "a\\nb"}]', r"a run's name must be one line"),
        ("base: base.yaml\nruns: [{name: a, set: [1]}]", r"overrides must be a mapping of config keys; got \[1\]"),
        ("base: base.yaml\nruns: [{name: a!}, {name: a.}]", r"two runs are called 'a!', or alike but for punctuation"),
        ("base: base.yaml\ngrid: [SEED]", r"grid must be a mapping, config key to a list of values; got \['SEED'\]"),
        ("base: base.yaml\ngrid: {SOLVER.GAMMA: []}", r"grid SOLVER.GAMMA must have a list of values"),
        ("base: base.yaml\ngrid: {SEED: [1]}", r"run 'SEED=1': SEED is not to be set; list them below seeds"),
        ("base: base.yaml\nruns: [{name: a}]\nset: {OUTPUT_DIR: x}", r"OUTPUT_DIR is not to be set; every run has"),
        (
            "base: base.yaml\nruns: [{name: a}]\nset: {SOLVER: {GAMMA: 1}, SOLVER.GAMMA: 1}",
            r"SOLVER.GAMMA is set twice",
        ),
        ("base: base.yaml\nruns: [{name: a}]\nnum_gpus: '2'", r"num_gpus must be a whole number.*; got '2'"),
        ("base: base.yaml\nruns: [{name: a}]\nnum_gpus: 0", r"num_gpus must be a whole number.*; got 0"),
        ("base: base.yaml\nruns: [{name: a}]\noutput: base.yaml/x", r"cannot be a folder: base.yaml is a file. Give"),
        ("base: base.yaml\nruns: [{name: a}]\noutput: 3", r"output must be text of one line; got 3"),
        ("base: base.yaml\nruns: [{name: a}]\ntitle: ", r"title must be text of one line; got None"),
        ("base: base.yaml\nruns: [{name: a}]\nslurm: 3", r"slurm must be a mapping"),
        ("base: base.yaml\nruns: [{name: a}]\nseeds: []", r"seeds must be a list of integers from 0 on"),
        ("base: base.yaml\nruns: [{name: a}]\nseeds: [True]", r"seeds must be a list of integers from 0 on"),
        (
            f"base: base.yaml\ngrid: {{{', '.join(f'A{i}: [1, 2, 3, 4]' for i in range(9))}}}",
            r"262,144 rows are too many",
        ),
        (
            "base: base.yaml\nruns: [{name: a, set: {SOLVER.BASE_LR: 0}}, {name: b, set: {SOLVER.IMS_PER_BATCH: 0}}]",
            r"run 'a': .*SOLVER.BASE_LR must be (.|\n)*run 'b': .*SOLVER.IMS_PER_BATCH must be",
        ),
        ("base: base.yaml\nruns: [{name: a}]\nset: {TEST.BEST_METRIC: mIuO}", r"run 'a': TEST.BEST_METRIC must be"),
        (
            "base: base.yaml\nruns: [{name: a}]\nmetrics: [mIoU, mIuO, thin_IoU]",
            r"no run is evaluated by mIuO, thin_IoU; with these configs metrics are mIoU, mIoU_old, fwIoU",
        ),
    ],
)
def test_mistakes_are_named(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_sweep(write(tmp_path, text))


def test_an_output_given_by_hand_must_be_a_folder_too(tmp_path):
    path = write(tmp_path, "base: base.yaml\nruns: [{name: a}]")
    with pytest.raises(ValueError, match=r"output .* cannot be a folder: .*base.yaml is a file"):
        load_sweep(path, tmp_path / "base.yaml")


def test_a_base_that_is_wrong_is_told_once(tmp_path):
    path = write(tmp_path, "base: base.yaml\nruns: [{name: a}, {name: b}]")
    (tmp_path / "base.yaml").write_text("SEED: -1")
    with pytest.raises(ValueError, match="SEED must be") as error:
        load_sweep(path)
    assert str(error.value).count("SEED") == 1


def test_a_child_writes_only_what_differs(tmp_path):
    write(tmp_path, "base: base.yaml\nseeds: [1, 2]\nruns: [{name: a}]").rename(tmp_path / "parent.yaml")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "child.yaml").write_text("_BASE_: ../parent.yaml\nseeds: [7]")
    sweep = load_sweep(tmp_path / "deep" / "child.yaml")
    assert (sweep.seeds, sweep.rows[0].name, sweep.config_file) == ((7,), "a", tmp_path / "base.yaml")


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Shipped sweeps are in configs/sweeps/"):
        load_sweep("nowhere.yaml")
    with pytest.raises(FileNotFoundError, match=r"gone.yaml"):
        load_sweep(write(tmp_path, "base: gone.yaml\nruns: [{name: a}]"))


@pytest.mark.parametrize("path", sorted(Path("configs/sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_sweeps_load(path):
    sweep = load_sweep(path)
    assert len(sweep.seeds) >= 2  # a paired comparison
    assert sweep.config_file.is_file()
    # A base that has an addition on would make rows equal that are told apart by it.
    trainings = {load_config(sweep.config_file, run.opts).dump() for run in sweep.runs[: len(sweep.rows)]}
    assert len(trainings) == len(sweep.rows) >= 2


@pytest.mark.parametrize("name", ["table3", "table4", "toy_table3", "toy_table4"])
def test_first_row_of_a_table_is_the_baseline_and_the_rest_are_not(name):
    sweep = load_sweep(Path("configs/sweeps") / f"{name}.yaml")
    first, *rest = (load_config(run.config_file, run.opts).MODEL for run in sweep.runs[: len(sweep.rows)])
    assert not first.PATCH_ALIGNMENT.ENABLED
    assert not first.STRUCTURE.ENABLED
    assert all(model.PATCH_ALIGNMENT.ENABLED or model.STRUCTURE.ENABLED for model in rest)
