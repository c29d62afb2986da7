"""A page being served, with the toy model under two names."""

import queue
import threading

import pytest

import physseg
from physseg.inference.web.limits import Limits
from physseg.inference.web.session import Models

LIMITS = Limits(upload=1, megapixels=0.5, words=6)


@pytest.fixture(scope="module")
def address():
    """Where the page is served, on a machine too busy for Gradio's own look at it."""
    networking = pytest.importorskip("gradio.networking")
    from physseg.inference.web.page import serve

    toy = physseg.load("toy", device="cpu")
    addresses, stop = queue.Queue(), threading.Event()
    models = Models({"toy": lambda: toy, "toy, again": lambda: toy})
    thread = threading.Thread(target=serve, args=(models, LIMITS), kwargs={"ready": addresses.put, "stop": stop})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "")
        patch.setattr(networking, "url_ok", lambda url: False)
        thread.start()
        yield addresses.get(timeout=120).rstrip("/")
    stop.set()
    thread.join(timeout=30)
    assert not thread.is_alive()
