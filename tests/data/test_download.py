import hashlib
import http.server
import io
import tarfile
import threading
import zipfile

import pytest

from physseg.data import download as module
from physseg.data.download import (
    Archive,
    DownloadError,
    download,
    download_archives,
    fetch_and_unpack,
    manual_steps,
    unpack,
)
from physseg.data.specs import all_specs, get_spec

DATA = bytes(range(256)) * 4000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves DATA or ``server.files``, with ranges; ``/broken`` closes in the middle; counts bytes sent."""

    def do_GET(self):
        data = self.server.files.get(self.path, DATA)
        start = 0
        if self.path == "/gone":
            self.send_error(404)
            return
        if (wanted := self.headers.get("Range")) and self.path != "/norange":
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if self.path == "/broken" and not start:
            body = body[: len(body) // 3]
        # First: the client may look as soon as it has the last byte.
        self.server.sent.append(len(body))
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.sent = {}, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_whole_file(server, tmp_path):
    path = download(f"{server.url}/a.bin", tmp_path / "x" / "a.bin", hashlib.md5(DATA).hexdigest())
    assert path.read_bytes() == DATA
    download(f"{server.url}/a.bin", path)
    assert len(server.sent) == 1
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_broken_off_download_continues(server, tmp_path):
    with pytest.raises(DownloadError, match=r"run the same command again to continue"):
        download(f"{server.url}/broken", tmp_path / "b")
    assert not (tmp_path / "b").exists()
    have = (tmp_path / "b.part").stat().st_size
    assert 0 < have < len(DATA)
    assert download(f"{server.url}/broken", tmp_path / "b").read_bytes() == DATA
    assert server.sent[-1] == len(DATA) - have


def test_server_without_ranges_starts_again(server, tmp_path):
    (tmp_path / "n.part").write_bytes(b"something else")
    assert download(f"{server.url}/norange", tmp_path / "n").read_bytes() == DATA


def test_complete_part_is_taken(server, tmp_path):
    (tmp_path / "a.part").write_bytes(DATA)
    assert download(f"{server.url}/a", tmp_path / "a").read_bytes() == DATA


def test_wrong_checksum_removes_the_file(server, tmp_path):
    with pytest.raises(DownloadError, match="the MD5 is not 0123"):
        download(f"{server.url}/a", tmp_path / "a", "0123")
    assert list(tmp_path.iterdir()) == []


def test_missing_file_and_server_are_explained(server, tmp_path):
    with pytest.raises(DownloadError, match=r"cannot fetch .*/gone: .*404.*by hand"):
        download(f"{server.url}/gone", tmp_path / "a")
    with pytest.raises(DownloadError, match=r"cannot fetch http://127\.0\.0\.1:9/a"):
        download("http://127.0.0.1:9/a", tmp_path / "a")


def test_free_space_is_checked_first(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DownloadError, match=r"GB free; make room or choose another --root"):
        download(f"{server.url}/a", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def tarred(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "pack"), [("t.zip", zipped), ("t.tar.gz", tarred)])
def test_archives_are_unpacked_and_removed(server, tmp_path, name, pack):
    server.files[f"/{name}"] = pack({"val2017/a.txt": "hello"})
    fetch_and_unpack(Archive(f"{server.url}/{name}", "coco/images", "coco/images/val2017"), tmp_path)
    assert (tmp_path / "coco/images/val2017/a.txt").read_text() == "hello"
    assert list((tmp_path / module.ARCHIVE_FOLDER).iterdir()) == []


def test_plain_file_is_moved(server, tmp_path):
    server.files["/list.json"] = b"{}"
    fetch_and_unpack(Archive(f"{server.url}/list.json", "VOC", "VOC/list.json"), tmp_path)
    assert (tmp_path / "VOC/list.json").read_text() == "{}"


@pytest.mark.parametrize(("name", "pack"), [("t.zip", zipped), ("t.tar.gz", tarred)])
def test_members_must_stay_inside(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack({"../outside.txt": "x"}))
    (tmp_path / "in").mkdir()
    with pytest.raises(DownloadError):
        unpack(tmp_path / name, tmp_path / "in")
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize("name", ["t.zip", "t.tar.gz"])
def test_damaged_archives_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(DownloadError, match=rf"{name} is damaged"):
        unpack(tmp_path / name, tmp_path)


def test_what_is_there_is_not_fetched(server, tmp_path, monkeypatch):
    server.files["/t.zip"] = zipped({"images/a": "", "done": ""})
    monkeypatch.setitem(module.ARCHIVES, "a150", (Archive(f"{server.url}/t.zip", "ade", "ade/done"),))
    download_archives([get_spec("a150")], tmp_path)
    download_archives([get_spec("a150")], tmp_path)
    assert len(server.sent) == 1
    # An archive that still lies there was not unpacked to the end.
    (tmp_path / module.ARCHIVE_FOLDER / "t.zip").write_bytes(zipped({"late": "x"}))
    download_archives([get_spec("a150")], tmp_path)
    assert (tmp_path / "ade/late").exists()


def test_every_set_has_steps_for_a_person():
    assert all(manual_steps(spec) for spec in all_specs())
    with pytest.raises(DownloadError, match=r"nothing to download by URL; do this instead:\n  register at https"):
        download_archives([get_spec("a847")], None)
