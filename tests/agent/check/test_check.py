"""The check's phases, against a proxy in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from gevent import socket

from hubble.agent.agent import Agent
from hubble.agent.check import throughput
from hubble.agent.check.check import Check, Step
from hubble.agent.options import AgentOptions
from hubble.base.errors import UsageError
from hubble.policy import ConnectionRequest, Decision, DenyAll, GrantAll, RegistrationRequest
from hubble.policy.request import denied
from hubble.proxy.proxy import Proxy, ProxyOptions
from hubble.transport.dial.dial import DialOptions
from hubble.transport.serve.server import ServerOptions
from hubble.transport.serve.servertls import ServerTLS
from hubble.transport.tls import TLSOptions
from tests.support.certificates import Authority
from tests.support.outproxies import IN_URL, squid, tinyproxy
from tests.support.wsserver import scripted_server

ALL = ["resolve", "connect", "proxy", "TLS", "upgrade", "registration", "round trip", "throughput"]


class Locked(GrantAll):
    """Admits who has the right key."""

    def register(self, request: RegistrationRequest) -> Decision:
        return super().register(request) if request.key == "sesame" else denied("the key is wrong")


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "SECONDS", 0.2)


@pytest.fixture
def url() -> Iterator[str]:
    yield from serving(Proxy("127.0.0.1:0"))


def serving(proxy: Proxy) -> Iterator[str]:
    host, port = proxy.start()
    yield f"ws://{host}:{port}"
    proxy.stop()


def steps(url: str, name: str = "", key: str = "", **dial: object) -> dict[str, Step]:
    dial.setdefault("proxy", "none")
    options = AgentOptions(dial=DialOptions(**dial))  # type: ignore[arg-type]
    return {step.name: step for step in Check(url, name, key, options).run()}


def failure(url: str, name: str = "", **how: object) -> Step:
    """The step that failed, which must be the last."""
    *before, last = steps(url, name, **how).values()  # type: ignore[arg-type]
    assert last.ok is False
    assert not any(step.ok is False for step in before)
    assert last.text.isprintable()
    return last


def test_all_is_well(url: str) -> None:
    found = steps(url, "checked")
    assert list(found) == ALL
    assert {name for name, step in found.items() if step.ok is None} == {"proxy", "TLS"}
    assert not any(step.ok is False for step in found.values())
    assert "127.0.0.1 is an address" in found["resolve"].text
    assert "anyone on the path can read the traffic" in found["TLS"].text
    assert "ms at best" in found["round trip"].text
    assert "MB/s" in found["throughput"].text
    assert 0.2 <= found["throughput"].seconds < 10


def test_without_a_name_it_does_not_register(url: str) -> None:
    found = steps(url)
    assert (found["registration"].ok, found["round trip"].ok, found["throughput"].ok) == (None, True, None)
    assert "-name" in found["registration"].text


def test_over_tls(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    identity = ca.issue("localhost")
    options = ProxyOptions(server=ServerOptions(tls=ServerTLS(identity.cert, identity.key)))
    for plain in serving(Proxy("127.0.0.1:0", options=options)):
        url = plain.replace("ws://127.0.0.1", "wss://localhost")
        found = steps(url, "checked", tls=TLSOptions(ca_file=ca.file))
        assert "TLSv1.3" in found["TLS"].text
        assert "for localhost, until" in found["TLS"].text
        assert found["throughput"].ok
        assert "not checked" in steps(url, tls=TLSOptions(insecure=True))["TLS"].text
        step = failure(url)
        assert (step.name, "pass the issuer's certificate with -ca" in step.text) == ("TLS", True)


def test_through_an_http_proxy(url: str) -> None:
    with tinyproxy() as port:
        found = steps(url, "checked", proxy=f"http://127.0.0.1:{port}")
    assert f"through http://127.0.0.1:{port} to 127.0.0.1:" in found["proxy"].text
    assert found["connect"].text == f"to 127.0.0.1:{port}"
    assert found["throughput"].ok


def test_an_http_proxy_that_wants_a_password(url: str) -> None:
    with squid("basic") as port:
        step = failure(url, proxy=f"http://127.0.0.1:{port}")
        assert (step.name, "407" in step.text, "it requires a user and password" in step.text) == ("proxy", True, True)
        assert steps(url, proxy=f"http://{IN_URL}@127.0.0.1:{port}")["proxy"].ok


def test_a_name_that_does_not_resolve() -> None:
    step = failure("ws://nowhere.invalid/")
    assert (step.name, "cannot resolve 'nowhere.invalid'" in step.text) == ("resolve", True)


def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        step = failure(f"ws://127.0.0.1:{bound.getsockname()[1]}/")
    assert (step.name, "Connection refused" in step.text) == ("connect", True)


def test_a_server_of_another_kind() -> None:
    def handle(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    with scripted_server(handle) as port:
        step = failure(f"ws://127.0.0.1:{port}/")
    assert (step.name, "is the path in the URL right?" in step.text) == ("upgrade", True)


def test_a_wrong_key() -> None:
    for url in serving(Proxy("127.0.0.1:0", Locked())):
        step = failure(url, "checked", key="oats")
        assert (step.name, "check -name and -key" in step.text) == ("registration", True)
        assert "oats" not in step.text
        assert steps(url, "checked", "sesame")["throughput"].ok


def test_a_name_that_is_taken(url: str) -> None:
    agent = Agent(url, "checked")
    agent.start()
    while steps(url, "checked")["registration"].ok:  # until the agent has registered
        pass
    step = failure(url, "checked")
    assert (step.name, "choose another -name for the check" in step.text) == ("registration", True)
    agent.stop()


def test_a_policy_that_allows_no_session_is_no_fault_of_the_way() -> None:
    class Closed(DenyAll):
        def connect(self, request: ConnectionRequest) -> Decision:
            return denied("closed")

    for url in serving(Proxy("127.0.0.1:0", Closed())):
        step = steps(url, "checked")["throughput"]
        assert (step.ok, "the proxy's policy may forbid it" in step.text) == (None, True)


def test_what_cannot_be_meant() -> None:
    with pytest.raises(UsageError, match="unknown scheme"):
        Check("ftp://x/")
