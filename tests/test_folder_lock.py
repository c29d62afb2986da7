import fcntl
import json
import multiprocessing
import os
import signal
import socket

import pytest

from physseg import folder_lock as module
from physseg.folder_lock import FolderInUseError, folder_lock


def hold(folder, held, release):
    with folder_lock(folder):
        held.set()
        release.wait(60)


@pytest.fixture
def holder(tmp_path):
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, held, release))
    process.start()
    assert held.wait(60)
    process.release = release.set
    return process


def test_a_second_run_is_refused_and_told_of_the_first(holder, tmp_path):
    words = rf"in use by another run: process {holder.pid} on {socket.gethostname()}, since \d{{4}}-.* another folder"
    with pytest.raises(FolderInUseError, match=words), folder_lock(tmp_path):
        pytest.fail("two runs in one folder")
    holder.release()
    holder.join(60)
    with folder_lock(tmp_path):
        pass


def test_a_killed_run_leaves_no_lock(holder, tmp_path):
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(60)
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == holder.pid
    with folder_lock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()


def test_the_same_process_may_take_it_again(tmp_path):
    with folder_lock(tmp_path), folder_lock(tmp_path / "." / "new" / ".."):
        pass
    with folder_lock(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()


@pytest.mark.parametrize(
    ("host", "pid", "free"),
    [("here", "own", False), ("here", "gone", True), ("elsewhere", "gone", False)],
)
def test_without_locks_of_the_file_system_the_file_decides(host, pid, free, tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    gone = multiprocessing.get_context("fork").Process(target=int)
    gone.start()
    gone.join()
    record = {
        "host": socket.gethostname() if host == "here" else "elsewhere",
        "pid": os.getpid() if pid == "own" else gone.pid,
        "since": "yesterday",
    }
    (tmp_path / ".lock").write_text(json.dumps(record))
    monkeypatch.setattr(fcntl, "flock", unsupported)
    if free:
        with folder_lock(tmp_path):
            assert tmp_path.resolve() in module._held
        assert tmp_path.resolve() not in module._held
    else:
        words = f"process {record['pid']} on {record['host']}, since yesterday.*another folder.$"
        if host == "elsewhere":
            words = words[:-1] + f" If it no longer runs on elsewhere, remove {tmp_path}/.lock.$"
        with pytest.raises(FolderInUseError, match=words), folder_lock(tmp_path):
            pass
