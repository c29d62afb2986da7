"""Where the page listens, tried before anything is built on it."""

import errno
import os
import socket

_FIRST, _LAST = 7860, 7959
_REASONS = {
    errno.EADDRINUSE: "another program uses it; give another --port, or none for the first free one",
    errno.EACCES: "ports below 1024 belong to the system; give a higher --port",
    errno.EADDRNOTAVAIL: "this machine has no such address; --host is 127.0.0.1 for it alone, 0.0.0.0 for all",
}


def free_port(host: str, port: int | None = None) -> int:
    """The port asked for, or the first free one from 7860 on.

    Raises:
        OSError: it cannot be listened at; the message says why.
    """
    if not host.strip():
        raise OSError("--host is empty: 127.0.0.1 is this machine alone, 0.0.0.0 everyone who reaches it")
    for candidate in [port] if port else range(_FIRST, _LAST + 1):
        try:
            _bind(host, candidate)
        except (socket.gaierror, UnicodeError) as error:
            raise OSError(f"--host {host}: no such address is known here ({error})") from None
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE:
                raise OSError(f"port {candidate} of {host}: {_REASONS.get(error.errno, error.strerror)}") from None
        else:
            return candidate
    raise OSError(f"all ports of {host} from {_FIRST} to {_LAST} are in use; give another --port")


def _bind(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As a server would: what an earlier one has just left is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def reach_directly(host: str) -> None:
    """Keep this process from asking for a page of its own by way of the proxy that the environment names.

    Gradio asks whether its page is there.
    """
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = ",".join(filter(None, (known, "localhost", "127.0.0.1", host)))
