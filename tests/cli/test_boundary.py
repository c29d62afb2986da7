"""Messages, statuses and streams of the boundary."""

import contextlib
import errno
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from physseg.cli import PROGRAMS, boundary
from physseg.cli.boundary import run_in_process, run_program
from physseg.data.vocabularies import check_vocabulary

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_other_log(monkeypatch):
    """What other tests' runs set up writes into streams that are gone."""
    monkeypatch.setattr(logging.getLogger("physseg"), "handlers", [])


def refuse(argv):
    check_vocabulary([])


def err(argv):
    raise ValueError("not raised by physseg")


def refuse_at_length(argv):
    from torch import nn

    from physseg.engine.weights import load_weights

    load_weights(nn.Linear(2, 2), {"other": [1.0]}, source="w.pth")


def interrupt(argv):
    raise KeyboardInterrupt


def test_a_refusal_is_one_line(capsys):
    assert run_program(refuse, []) == 1
    captured = capsys.readouterr()
    assert captured.err == "error: the vocabulary is empty; give at least one class name\n"
    assert captured.out == ""


def test_details_come_before_the_last_line(capsys):
    assert run_program(refuse_at_length, []) == 1
    *details, last = capsys.readouterr().err.splitlines()
    assert last == "error: w.pth (1 tensors) does not fit the model (details above)"
    assert any("missing (2): weight, bias" in line for line in details)


def test_traceback_on_demand(capsys):
    assert run_program(refuse, ["--traceback"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "error: the vocabulary is empty; give at least one class name"
    assert run_program(refuse, []) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_programs_do_not_see_the_option():
    seen = []
    assert run_program(lambda argv: seen.extend(argv) or 0, ["a", "--traceback", "b"]) == 0
    assert seen == ["a", "b"]


def test_a_bug_shows_where_and_says_so(capsys):
    assert run_program(err, []) == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2] == "error: ValueError: not raised by physseg"
    assert "this is a bug in physseg" in lines[-1]


def test_a_library_that_turns_a_stop_into_an_error(capsys):
    def careless(argv):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise LookupError("its own clean-up found nothing")

    assert run_program(careless, []) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM.\n"


def test_a_library_that_loses_a_stop(capsys):
    def foreign(argv):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        return {}["its own error instead"]

    assert run_program(foreign, []) == 143
    assert capsys.readouterr().err == "stopped by SIGTERM.\n"


def test_an_error_with_an_explanation_after_a_stop_was_asked_for(capsys):
    def full_disk(argv):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        raise OSError(errno.ENOSPC, "No space left on device", "model_final.pth")

    assert run_program(full_disk, []) == 1
    assert "model_final.pth" in capsys.readouterr().err.splitlines()[-1]


def test_ctrl_c(capsys):
    assert run_program(interrupt, []) == 130
    assert capsys.readouterr().err == "stopped by SIGINT.\n"


@pytest.mark.parametrize(("code", "status"), [(None, 0), (0, 0), (3, 3), ("text", 1)])
def test_a_program_that_exits_by_itself(code, status):
    assert run_program(lambda argv: sys.exit(code), []) == status


def test_the_log_file_keeps_the_traceback(tmp_path, monkeypatch, capsys):
    handler = logging.FileHandler(tmp_path / "log.txt")
    monkeypatch.setattr(logging.getLogger("physseg"), "handlers", [handler, logging.StreamHandler()])
    run_program(refuse, [])
    handler.close()
    assert "check_vocabulary" in (tmp_path / "log.txt").read_text()
    assert "Traceback" not in capsys.readouterr().err


def test_a_child_ends_with_the_status():
    with pytest.raises(SystemExit) as end:
        run_in_process(check_vocabulary, [])
    assert end.value.code == 1
    run_in_process(check_vocabulary, ["cat"])


def test_the_first_process_speaks_and_the_others_wait(monkeypatch, capsys):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setenv("LOCAL_RANK", "0")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        run_program(refuse, [])
    assert waited == [boundary._GRACE_SECONDS]


def script(path, *words, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(ROOT / path), *words],
        capture_output=True, text=True, timeout=120, check=False, env=environment, **options,
    )  # fmt: skip


def test_a_script_from_another_folder(tmp_path):
    result = script("tools/train_net.py", "--config-file", "nowhere.yaml", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: Config file not found: nowhere.yaml")
    assert "Traceback" not in result.stderr


def say(argv):
    print("word " * 10_000)
    return 0


def test_output_that_finds_no_room(monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", open("/dev/full", "w"))  # noqa: SIM115
        assert run_program(say, []) == 1
    assert "The disk is full" in capsys.readouterr().err


def test_output_that_nobody_reads(monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", open(writer, "w"))  # noqa: SIM115
        assert run_program(say, []) == 128 + 13
    assert capsys.readouterr().err == ""


def test_every_script_is_a_program_and_every_program_has_a_parser_and_a_main():
    called = {
        line.split('"')[1]
        for path in (*ROOT.glob("tools/*.py"), *ROOT.glob("datasets/*.py"))
        for line in path.read_text().splitlines()
        if "start(" in line
    }
    # Those without a script go by the command physseg alone.
    assert set(PROGRAMS) - called == {"models", "lighten", "toy_scene"}
    assert called <= set(PROGRAMS)
    for name in PROGRAMS:
        module = __import__(f"physseg.cli.{name}", fromlist=["main"])
        assert callable(module.main)
        assert "--traceback" in module.parser().format_help()
