"""Sweeps with a training program that does nothing, quickly."""

import functools
import json
import multiprocessing
import os
import signal
import sys
import time
import types
from pathlib import Path

import pytest

from physseg.cli.boundary import run_program
from physseg.cli.sweep import main
from physseg.sweep.run_folder import read_results
from physseg.sweep.slots import make_slots
from physseg.sweep.spec import load_sweep

TRAIN = [sys.executable, str(Path(__file__).with_name("fake_train.py"))]
SWEEP = """
title: Weights
base: base.yaml
seeds: [0, 1]
grid:
  MODEL.STRUCTURE.WEIGHT: [1, 2]
"""


@pytest.fixture(autouse=True)
def no_plot(monkeypatch):
    # Drawing takes longer than all else; test_table.py draws one.
    monkeypatch.setattr("physseg.sweep.plot.write_plot", lambda table, path: path.touch())


@pytest.fixture
def sweep_file(tmp_path):
    (tmp_path / "base.yaml").write_text("SOLVER: {MAX_ITER: 5}")
    path = tmp_path / "weights.yaml"
    path.write_text(SWEEP)
    return path


def run(sweep_file, *options):
    words = [str(sweep_file), "--output", str(sweep_file.parent / "out"), *options]
    return run_program(functools.partial(main, command=TRAIN), words)


def starts(folder):
    return [int(line.split()[0]) for line in (folder / "starts.txt").read_text().splitlines()]


def test_runs_all_and_writes_the_table(sweep_file, capsys):
    assert run(sweep_file, "--jobs", "2") == 0
    out = sweep_file.parent / "out"
    assert sorted(p.name for p in out.glob("table.*")) == [
        "table.csv",
        "table.json",
        "table.md",
        "table.png",
        "table.tex",
    ]
    table = json.loads((out / "table.json").read_text())
    assert table["columns"] == ["toy_ade20k_full_val_sem_seg", "toy_voc_20_val_sem_seg", "mean"]
    assert [row["name"] for row in table["rows"]] == ["STRUCTURE.WEIGHT=1", "STRUCTURE.WEIGHT=2"]
    assert [row["values"]["mean"]["mean"] for row in table["rows"]] == [10.5, 20.5]
    assert "| STRUCTURE.WEIGHT=2 | 20.50 ± 0.71 |" in capsys.readouterr().out


def test_finished_runs_are_not_repeated(sweep_file):
    run(sweep_file)
    assert run(sweep_file) == 0
    assert all(starts(folder) == [0] for folder in (sweep_file.parent / "out").glob("*/seed*"))


def test_two_sweeps_at_once_share_the_runs(sweep_file, monkeypatch):
    monkeypatch.setenv("FAKE_STEPS", "4")
    other = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(run(sweep_file, "--jobs", "2")))
    other.start()
    assert run(sweep_file, "--jobs", "2") == 0
    other.join(60)
    assert other.exitcode == 0
    folders = list((sweep_file.parent / "out").glob("*/seed*"))
    assert len(folders) == 4
    assert all(starts(folder) == [0] for folder in folders)


def test_a_run_that_finds_no_place_is_one_line(sweep_file, monkeypatch, capsys, caplog):
    def full(*_):
        raise OSError(28, "No space left on device", "seed0")

    monkeypatch.setattr("physseg.sweep.run_folder.prepare", full)
    assert run(sweep_file) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("failed: ")
    assert last.endswith("No space left on device: 'seed0'")
    assert "Traceback" not in caplog.text


def test_changed_settings_are_run_again_and_the_old_run_is_kept(sweep_file):
    run(sweep_file)
    sweep_file.write_text(SWEEP + "set: {SOLVER.BASE_LR: 0.1}")
    assert run(sweep_file) == 0
    folder = sweep_file.parent / "out" / "STRUCTURE.WEIGHT=1"
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == [
        "seed0", "seed0-other-settings-1", "seed1", "seed1-other-settings-1",
    ]  # fmt: skip


def test_a_failed_try_is_repeated(sweep_file, monkeypatch):
    monkeypatch.setenv("FAKE_FAIL", "1")
    assert run(sweep_file) == 0
    assert starts(sweep_file.parent / "out" / "STRUCTURE.WEIGHT=1" / "seed1") == [0, 1]


def test_failures_stay_where_they_are(sweep_file, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_DIE", "0")
    assert run(sweep_file, "--retries", "0") == 1
    output = capsys.readouterr()
    assert "failed: STRUCTURE.WEIGHT=1, seed 0: exit status 1; last line: out of luck" in output.err
    assert "| STRUCTURE.WEIGHT=1 | 11.00 |" in output.out


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_and_resumed(sweep_file, how, monkeypatch):
    monkeypatch.setenv("FAKE_STEPS", "20")
    # Forked, for a new interpreter would take longer to start than the sweep takes.
    options = (sweep_file, "--jobs", "2")
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(run(*options)))
    process.start()
    runs = load_sweep(sweep_file, sweep_file.parent / "out").runs
    while not (runs[1].folder / "state.json").is_file():
        time.sleep(0.02)
        assert process.is_alive()
    os.kill(process.pid, how)
    process.join(60)
    assert process.exitcode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert any(read_results(run) is None for run in runs)
    if how == signal.SIGKILL:
        # Its two trainings live on: the new sweep waits for them instead of starting them twice.
        assert not any(read_results(run) for run in runs[:2])
    assert run(sweep_file, "--jobs", "2") == 0
    first = starts(runs[0].folder)
    assert first[0] == 0
    assert len(first) == (2 if how == signal.SIGINT else 1)
    assert how == signal.SIGKILL or 0 < first[1] < 20


def test_dry_run_starts_nothing(sweep_file, capsys):
    assert run(sweep_file, "--dry-run") == 0
    output = capsys.readouterr().out
    assert not (sweep_file.parent / "out").exists()
    assert "# STRUCTURE.WEIGHT=2, seed 1: to do" in output
    assert "--resume MODEL.STRUCTURE.WEIGHT 2 SEED 1 OUTPUT_DIR" in output


def test_the_sweeps_to_correct_with_are_read_before_anything_starts(sweep_file, capsys):
    assert run(sweep_file, "--together-with", "gone.yaml") == 1
    assert "Sweep file not found: gone.yaml" in capsys.readouterr().err
    assert not (sweep_file.parent / "out").exists()


def test_slots_share_out_gpus_or_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    cpu = make_slots(2, 1, [])
    assert cpu.get() == {"OMP_NUM_THREADS": "4"}
    gpu = make_slots(3, 2, ["0", "1", "2", "3"])
    assert [gpu.get()["CUDA_VISIBLE_DEVICES"] for _ in range(3)] == ["0,1", "2,3", "0,1"]
    with pytest.raises(ValueError, match=r"num_gpus is 4, but 2 GPUs are visible"):
        make_slots(1, 4, ["0", "1"])


def test_slurm_submits_what_is_not_done(sweep_file, monkeypatch):
    submitted, parameters = [], {}

    class Executor:
        def __init__(self, folder):
            self.folder = folder

        def update_parameters(self, **given):
            parameters.update(given)

        def submit(self, function, *arguments):
            submitted.append(arguments[1].name)
            status = function(*arguments)
            return types.SimpleNamespace(job_id=len(submitted), result=lambda: status)

    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=Executor))
    sweep_file.write_text(SWEEP + "slurm: {slurm_partition: gpu, timeout_min: 60}\nnum_gpus: 4")
    assert run(sweep_file, "--slurm") == 0
    assert run(sweep_file, "--slurm") == 0
    assert len(submitted) == 4
    assert parameters == {"gpus_per_node": 4, "slurm_partition": "gpu", "timeout_min": 60}


def test_slurm_without_submitit(sweep_file, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert run(sweep_file, "--slurm") == 1
    assert "--slurm needs submitit: pip install 'physseg[slurm]'" in capsys.readouterr().err
