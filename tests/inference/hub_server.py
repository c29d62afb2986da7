"""A server that answers as the Hugging Face Hub does where a file is fetched: HEAD and redirect, then the content.

    python tests/inference/hub_server.py FILE hamacojr/CAT-Seg-weights model_base.pth

serves FILE as that file of that Space and prints the address for HF_ENDPOINT.
"""

import contextlib
import hashlib
import http.server
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Handler(http.server.BaseHTTPRequestHandler):
    """``server.files``: path of a resolve URL -> content. ``server.stop_at``: stall there until ``server.go``."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        data = self.server.files.get(self.path)
        if data is None:
            self._answer(404, {"Content-Length": "0"})
            return
        digest = self.server.claimed_digest or hashlib.sha256(data).hexdigest()
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data)), "X-Repo-Commit": COMMIT}
        # Another host name, as the hub sends large files to: redirects to itself are followed in another way.
        location = self.server.url.replace("127.0.0.1", "localhost") + "/cdn" + self.path
        self._answer(302, {**linked, "Location": location, "Content-Length": "0"})

    def do_GET(self):
        data = self.server.files.get(self.path.removeprefix("/cdn"))
        if data is None:
            self._answer(404, {"Content-Length": "0"})
            return
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.server.starts.append(start)
        length = {"Content-Length": str(len(data) - start)}
        ranged = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if wanted else {}
        self._answer(206 if wanted else 200, length | ranged)
        stop = self.server.stop_at
        if stop is not None and start < stop:
            self.wfile.write(data[start:stop])
            self.server.go.wait(60)
            start = stop
        self.wfile.write(data[start:])

    def _answer(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def handle(self):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a client that was killed
            super().handle()

    def log_message(self, *_):
        pass


@contextmanager
def hub(files):
    """Serve the files while the context lasts.

    Args:
        files: "/spaces/NAMESPACE/REPOSITORY/resolve/REVISION/FILE" -> content.

    Yields:
        the server; ``url``; ``starts``: the first byte of each download, in order.
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.files, server.starts = files, []
    server.stop_at, server.go, server.claimed_digest = None, threading.Event(), ""
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.go.set()
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    path, repository, name = sys.argv[1:]
    with hub({f"/spaces/{repository}/resolve/main/{name}": Path(path).read_bytes()}) as server:
        print(server.url, flush=True)
        threading.Event().wait()
