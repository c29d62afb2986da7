"""Fetching weights from a server that behaves as the hub does."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections import namedtuple

import huggingface_hub
import pytest
import torch
from safetensors.torch import load, load_file, save

from physseg.inference import hub as module
from physseg.inference.hub import RECORD, WEIGHTS, DamagedFileError, HubFile, fetch_weights, file_sha256, home
from tests.inference.hub_server import COMMIT, hub

SOURCE = HubFile("someone/weights", "folder/model.safetensors", "space")
PATH = "/spaces/someone/weights/resolve/main/folder/model.safetensors"
CHUNK = 16 << 10
fork = multiprocessing.get_context("fork")


@pytest.fixture
def content():
    return save({"published.weight": torch.arange(100_000, dtype=torch.float32)})


@pytest.fixture
def server(content, monkeypatch, tmp_path):
    """The hub, with HF_ENDPOINT, PHYSSEG_HOME and small chunks, as child processes see them too."""
    with hub({PATH: content}) as running:
        use_endpoint(monkeypatch, running.url)
        monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
        monkeypatch.setenv("PHYSSEG_HOME", str(tmp_path / "home"))
        yield running


def use_endpoint(monkeypatch, url):
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def read(path):
    """What stands for the conversion: other names."""
    return {name.replace("published", "ours"): value for name, value in load_file(path).items()}


def fetch():
    return fetch_weights("some-model", SOURCE, read, "Or take another model.")


def folder():
    return home() / "models" / "some-model"


def test_the_first_call_fetches_and_converts_and_the_next_ones_need_no_server(server, content):
    path = fetch()
    assert path == folder() / WEIGHTS
    assert load_file(path).keys() == {"ours.weight"}
    assert torch.equal(load_file(path)["ours.weight"], load(content)["published.weight"])
    record = json.loads((folder() / RECORD).read_text())
    assert record["sha256"] == file_sha256(path)
    assert record["source"]["commit"] == COMMIT
    assert record["source"]["bytes"] == len(content)
    assert {entry.name for entry in folder().iterdir()} == {WEIGHTS, RECORD, ".lock"}
    server.files.clear()
    assert fetch() == path
    assert server.starts == [0]


def test_kill_in_the_middle_then_resume(server, content):
    server.stop_at = 10 * CHUNK
    child = fork.Process(target=fetch)
    child.start()
    deadline = time.monotonic() + 30
    while not (parts := list(folder().glob("part-*"))) or parts[0].stat().st_size < server.stop_at:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert not (folder() / RECORD).exists()
    server.stop_at = None
    assert torch.equal(load_file(fetch())["ours.weight"], load(content)["published.weight"])
    assert server.starts == [0, 10 * CHUNK]


def test_many_processes_download_once(server):
    children = [fork.Process(target=fetch) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0] * 4
    assert server.starts == [0]
    assert file_sha256(fetch()) == json.loads((folder() / RECORD).read_text())["sha256"]


def test_without_a_network_the_message_names_file_and_place_and_the_file_works_there(server, content, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError) as caught:
        fetch()
    place = folder() / "model.safetensors"
    assert f"Cannot fetch {server.url}{PATH} (OfflineModeIsEnabled: " in str(caught.value)
    assert f"put it, as it is, at\n    {place}\nOr take another model." in str(caught.value)
    place.write_bytes(content)
    assert load_file(fetch()).keys() == {"ours.weight"}
    assert place.read_bytes() == content
    assert server.starts == []


def test_nobody_listens(monkeypatch, tmp_path):
    use_endpoint(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setenv("PHYSSEG_HOME", str(tmp_path))
    with pytest.raises(ConnectionError, match=r"Cannot fetch http://127.0.0.1:9/spaces/"):
        fetch()


def test_a_file_that_the_hub_does_not_have(server):
    server.files.clear()
    with pytest.raises(ConnectionError, match=r"Cannot fetch .*model.safetensors \(.*404"):
        fetch()


def test_what_is_kept_is_checked_at_every_call(server):
    path = fetch()
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    with pytest.raises(DamagedFileError, match=r"is not the file that was kept: SHA-256 .* Remove the folder"):
        fetch()
    path.unlink()
    with pytest.raises(DamagedFileError, match=r"the file is missing"):
        fetch()
    shutil.rmtree(folder())
    assert fetch() == path


def test_content_that_is_not_what_the_hub_says_is_refused(server):
    server.claimed_digest = "0" * 64
    with pytest.raises(DamagedFileError, match=r"expected 0{64}"):
        fetch()
    assert not list(folder().glob("part-*"))


def test_a_part_of_content_that_the_hub_no_longer_has_is_dropped(server):
    folder().mkdir(parents=True)
    (folder() / "part-0123456789abcdef-model.safetensors").write_bytes(b"old")
    fetch()
    assert server.starts == [0]
    assert not list(folder().glob("part-*"))


def test_no_room(server, monkeypatch, content):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(2 * len(content)))
    with pytest.raises(OSError, match=r"GB free, and 0.3 GB are needed .*PHYSSEG_HOME"):
        fetch()
    assert server.starts == []


def test_a_file_that_holds_no_such_weights(server):
    def refuse(path):
        raise ValueError("no weights of that kind")

    with pytest.raises(DamagedFileError, match=r"no weights of that kind\nRemove .*model.safetensors"):
        fetch_weights("some-model", SOURCE, refuse)
    assert not (folder() / RECORD).exists()


def test_home(monkeypatch, tmp_path):
    monkeypatch.delenv("PHYSSEG_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home() == tmp_path / "physseg"
    monkeypatch.setenv("PHYSSEG_HOME", "~/models")
    assert str(home()).startswith("/")
