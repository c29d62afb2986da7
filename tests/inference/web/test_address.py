from urllib.request import proxy_bypass_environment

from physseg.inference.web.address import reach_directly


def test_a_proxy_is_not_asked_for_our_own_page(monkeypatch):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "intern.example")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert not proxy_bypass_environment("127.0.0.1:7860")
    reach_directly("192.0.2.7")
    for host in ("localhost", "127.0.0.1:7860", "192.0.2.7:7860", "intern.example"):
        assert proxy_bypass_environment(host)
    assert not proxy_bypass_environment("192.0.2.8")
