"""No file of the server can be read through the page, whatever is asked for."""

import http.client
import io
import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

SECRET = "a word that stands in one file"


def ask(address, path, method="GET", body=None, headers=None):
    """Status and body; the path goes out as it is written, with no library to tidy it."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.putrequest(method, path, skip_host=False)
    data = body.encode() if isinstance(body, str) else body or b""
    for key, value in (headers or {}).items():
        connection.putheader(key, value)
    if data:
        connection.putheader("Content-Length", str(len(data)))
    connection.endheaders(data or None)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text(SECRET)
    return path


PREFIXES = (
    *("/gradio_api/file=", "/gradio_api/file/", "/file=", "/file/", "/static/", "/assets/", "/svelte/", "/"),
    *("/gradio_api/proxy=", "/gradio_api/custom_component/1/client/component/", "/gradio_api/stream/"),
    *("/gradio_api/run-history/records/1/1/assets/", "/gradio_api/vibe-code/", "/pwa_icon/", "/monitoring/"),
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_paths_lead_nowhere(address, secret, prefix):
    source = Path(__file__)
    up = "../" * 12
    for file, content in ((secret, SECRET), (source, "lead_nowhere"), (Path("/etc/passwd"), "root:")):
        plain = str(file)
        for path in (
            plain,
            plain.lstrip("/"),
            up + plain.lstrip("/"),
            (up + plain.lstrip("/")).replace("..", "%2e%2e"),
            (up + plain.lstrip("/")).replace("/", "%2f"),
            (up + plain.lstrip("/")).replace("../", "..%252f"),
            (up + plain.lstrip("/")).replace("../", "..\\"),
            "file://" + plain,
            plain.replace("/", "//"),
            f"{plain}%00.png",
            os.path.relpath(plain),
        ):
            status, body = ask(address, prefix + path.replace(" ", "%20"))
            assert status >= 400, (prefix, path)
            assert content.encode() not in body


def test_other_places_are_not_fetched_either(address):
    for prefix in ("/gradio_api/proxy=", "/gradio_api/file=", "/proxy="):
        status, _ = ask(address, prefix + "http://127.0.0.1:1/")
        assert status >= 400


def open_picture(address, file):
    """What the page's script does after an upload; the last event."""
    config = json.loads(ask(address, "/config")[1])
    (event,) = (d for d in config["dependencies"] if [t[1] for t in d["targets"]] == ["upload"])
    file = {"orig_name": "a.png", "meta": {"_type": "gradio.FileData"}} | file
    data = {"data": [file, "cat", "toy", "none", 0, None], "fn_index": event["id"], "session_hash": "abc"}
    headers = {"Content-Type": "application/json"}
    status, body = ask(address, "/gradio_api/queue/join", "POST", json.dumps(data), headers)
    assert status == 200, body
    events = _events(f"{address}/gradio_api/queue/data?session_hash=abc")
    return next(event for event in events if event["msg"] == "process_completed")


def test_a_path_in_a_request_is_not_opened(address, secret):
    for path in (str(secret), "/etc/passwd", os.path.relpath(secret)):
        for extra in ({}, {"url": f"file://{path}"}, {"url": "http://127.0.0.1:1/"}):
            done = open_picture(address, {"path": path} | extra)
            assert not done["success"]
            assert SECRET not in json.dumps(done)
            assert "root:" not in json.dumps(done)


def test_an_upload_in_a_request_is_opened(address):
    """So that the test above fails for the path's sake."""
    picture = io.BytesIO()
    Image.new("RGB", (40, 30)).save(picture, "PNG")
    (path,) = json.loads(upload(address, "a.png", picture.getvalue())[1])
    done = open_picture(address, {"path": path})
    assert done["success"]
    assert done["output"]["data"][1]["words"] == [{"name": "cat", "colour": [230, 25, 75], "share": 1.0}]


def _events(url):
    with urllib.request.urlopen(url, timeout=60) as stream:
        for line in stream:
            if line.startswith(b"data:"):
                event = json.loads(line[5:])
                yield event
                if event["msg"] in ("process_completed", "close_stream"):
                    return


def upload(address, name, content):
    boundary = "edge"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\n"
    ).encode() + content
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return ask(address, "/gradio_api/upload", "POST", body + f"\r\n--{boundary}--\r\n".encode(), headers)


def test_an_upload_lands_in_its_own_folder_whatever_its_name(address, tmp_path):
    status, body = upload(address, f"../../../../../../..{tmp_path}/planted.png", b"picture")
    assert status == 200
    (path,) = json.loads(body)
    assert not (tmp_path / "planted.png").exists()
    assert re.search(r"physseg-web-\w+/[0-9a-f]{64}/", path)
    # The uploader may see it again.
    assert ask(address, f"/gradio_api/file={path}") == (200, b"picture")


def test_too_large_an_upload_is_refused(address):
    status, _ = upload(address, "a.png", b"x" * (1 << 20 | 1))
    assert status == 413


def test_the_page_loads_nothing_from_elsewhere_by_its_own_rule(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{address}/docs", timeout=30)
