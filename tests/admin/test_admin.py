"""The admin listener's API, asked over HTTP, of one worker and of two."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import requests
from gevent import socket
from gevent.pywsgi import WSGIServer

from hubble.admin import live as stream_module
from hubble.admin.server import AdminHandler, serve
from hubble.events import CloseSession, GatewayUnregistration, RegistrationRefused, SessionResumed, SessionSuspended
from hubble.mesh.cluster import Cluster
from hubble.transport.dial.dial import parse_url
from hubble.transport.listen import open_listener
from tests.support.tunnels import Tunnel, eventually, exchange
from tests.support.waiting import poll

TOKEN = "a-token-for-the-tests"


class Client:
    """Asks the API of a proxy."""

    def __init__(self, tunnel: Tunnel, **settings: Any) -> None:
        listener = open_listener("127.0.0.1", 0)
        serve(tunnel.proxy, listener, TOKEN, {"listen": ":8080"}, **settings)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {TOKEN}"

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(self.url + path, params=query, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.http.post(self.url + path, json=body, timeout=10)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    with Tunnel() as tunnel:
        yield tunnel


@pytest.fixture
def client(tunnel: Tunnel) -> Client:
    return Client(tunnel)


def test_metrics_are_asked_of_this_machines_workers_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    first, second = (Cluster(None, node, "127.0.0.1", secret=b"s" * 16) for node in ("here", "elsewhere"))
    with (
        Tunnel(runtime_dir=tmp_path, cluster=first) as here,
        Tunnel(runtime_dir=tmp_path, cluster=second, with_agents=False) as there,
    ):
        assert there.proxy.mesh is not None
        asked: list[str] = []
        there.proxy.mesh.methods |= {
            "admin_worker": lambda arguments: asked.append("worker"),
            "admin_metrics": lambda arguments: asked.append("metrics"),
        }
        client = Client(here)
        answer = client.http.get(client.url + "/metrics", timeout=10)
        assert answer.status_code == 200 and "hubble_gateways" in answer.text
        assert asked == []
        client.http.get(client.url + "/api/workers", timeout=10)
        assert asked == ["worker"]


def test_nothing_is_revealed_without_the_token(client: Client) -> None:
    paths = ["/metrics", "/api/status", "/api/sessions", "/api/stream", "/api/nothing", "/nothing"]
    for path in paths:
        for header in (None, "Bearer wrong", f"Basic {TOKEN}", "Bearer", "Bearer é"):
            headers = {"Authorization": header.encode("latin-1")} if header else {}
            answer = requests.get(client.url + path, headers=headers, timeout=10)
            assert answer.status_code == 401
            assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert requests.post(client.url + "/api/drain", timeout=10).status_code == 401


def test_the_public_listener_has_none_of_it(tunnel: Tunnel, client: Client) -> None:
    public = tunnel.url.replace("ws:", "http:")
    for path in ("/metrics", "/api/status", "/dashboard.js"):
        assert client.http.get(public + path, timeout=10).status_code == 426


def test_gateways_and_sessions(tunnel: Tunnel, client: Client) -> None:
    sock = tunnel.open()
    exchange(sock, b"x" * 1000)
    gateways = client.get("/api/gateways")
    assert gateways["total"] == 2
    assert [row["name"] for row in gateways["items"]] == ["entry", "exit"]
    assert gateways["items"][0]["sessions"] == 1
    page = client.get("/api/sessions")
    (row,) = page["items"]
    assert (row["source"], row["gateway"], row["state"]) == ("entry", "exit", "open")
    assert (row["bytes_to_exit"], row["bytes_to_entry"]) == (1005, 1005)
    assert client.get(f"/api/sessions/{row['session']}")["host"] == "127.0.0.1"
    assert client.http.get(f"{client.url}/api/sessions/{row['session'][:-1]}0", timeout=10).status_code in (200, 404)
    assert client.http.get(f"{client.url}/api/sessions/nonsense", timeout=10).status_code == 400
    status = client.get("/api/status")
    assert (status["gateways"], status["sessions_open"], status["workers"]) == (2, 1, 1)
    assert client.get("/api/flows")["items"][0]["sessions"] == 1
    assert client.get("/api/nodes")["items"][0]["workers"] == 1
    assert client.get("/api/configuration") == {"listen": ":8080"}
    sock.close()


def test_searching_sorting_and_paging(tunnel: Tunnel, client: Client) -> None:
    socks = [tunnel.open() for _ in range(5)]
    for number, sock in enumerate(socks):
        exchange(sock, b"x" * 100 * number)
    by_bytes = client.get("/api/sessions", sort="bytes", order="desc", limit=2)
    assert by_bytes["total"] == 5
    assert [row["bytes_to_exit"] for row in by_bytes["items"]] == [405, 305]
    rest = client.get("/api/sessions", sort="bytes", order="desc", limit=2, offset=4)
    assert [row["bytes_to_exit"] for row in rest["items"]] == [5]
    assert client.get("/api/sessions", search="ENTR")["total"] == 5
    assert client.get("/api/sessions", search="nobody")["total"] == 0
    assert client.get("/api/sessions", state="suspended")["total"] == 0
    assert client.get("/api/sessions", gateway="exit")["total"] == 5
    assert client.get("/api/sessions", gateway="exi")["total"] == 0
    assert client.get("/api/gateways", search="exi")["total"] == 1
    for query in ("limit=0", "limit=201", "limit=x", "offset=-1", "sort=colour", "order=up", "limit=1&limit=2", "x=1"):
        answer = client.http.get(f"{client.url}/api/sessions?{query}", timeout=10)
        assert answer.status_code == 400 and answer.json()["error"], query
    for sock in socks:
        sock.close()


def test_events_newest_first(tunnel: Tunnel, client: Client) -> None:
    sock = tunnel.open()
    eventually(lambda: len(client.get("/api/events")["items"]) == 4, "start, two registrations and an opening")
    events = client.get("/api/events")["items"]
    assert [event["event"] for event in events[::3]] == ["OpenSession", "ProxyStarted"]
    assert len(client.get("/api/events", kind="GatewayRegistration")["items"]) == 2
    assert len(client.get("/api/events", about="exit")["items"]) == 2
    assert len(client.get("/api/events", about=events[0]["session"])["items"]) == 1
    assert len(client.get("/api/events", limit=1)["items"]) == 1
    assert "s3cret" not in json.dumps(events)
    sock.close()


def test_kicking_a_session_resets_both_sides(tunnel: Tunnel, client: Client) -> None:
    sock = tunnel.open()
    session = client.get("/api/sessions")["items"][0]["session"]
    assert client.post(f"/api/sessions/{session}/kick") == {"done": True}
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    closed = tunnel.logger.wait(CloseSession)
    assert (closed.reason, closed.detail) == ("revoked", "ended by the operator")
    client.post(f"/api/sessions/{session}/kick", status=404)
    assert client.get("/api/sessions")["total"] == 0


def test_a_kicked_session_that_is_suspended_cannot_be_resumed(tunnel: Tunnel, client: Client) -> None:
    sock = tunnel.open()
    session = client.get("/api/sessions")["items"][0]["session"]
    gateway, targets = tunnel.proxy.gateways.get("entry"), tunnel.agents[1]._keeper.targets
    assert gateway is not None
    tunnel.agents[1]._keeper.targets = [parse_url("ws://127.0.0.1:1")]
    gateway.link.abort("cut by the test")
    tunnel.logger.wait(SessionSuspended)
    assert client.get("/api/sessions", state="suspended")["items"][0]["session"] == session
    client.post(f"/api/sessions/{session}/kick")
    assert tunnel.logger.wait(CloseSession).reason == "revoked"
    tunnel.agents[1]._keeper.targets = targets
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    assert not tunnel.logger.all(SessionResumed)


def test_a_kicked_gateway_may_come_back_and_its_sessions_go_on(tunnel: Tunnel, client: Client) -> None:
    sock = tunnel.open()
    client.post("/api/gateways/kick", {"name": "exit"})
    assert tunnel.logger.wait(GatewayUnregistration).reason
    tunnel.logger.wait(SessionResumed)
    exchange(sock, b"still here")
    client.post("/api/gateways/kick", {"name": "nobody"}, status=404)
    sock.close()


def test_a_blocked_gateway_stays_away_until_it_is_unblocked(tunnel: Tunnel, client: Client) -> None:
    sock = tunnel.open()
    assert client.post("/api/gateways/block", {"name": "exit"})["registered"]
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    assert tunnel.logger.wait(RegistrationRefused).reason == "blocked by the operator"
    assert client.get("/api/gateways")["total"] == 1
    client.post("/api/gateways/unblock", {"name": "exit"})
    eventually(lambda: client.get("/api/gateways")["total"] == 2, "it is back")
    tunnel.open().close()


def test_invalid_bodies(client: Client) -> None:
    for body in (
        b"",
        b"{",
        b"[]",
        b'{"name": ""}',
        b'{"name": 1}',
        b'{"who": "x"}',
        b"{}",
        b"x" * 20_000,
        b"[" * 9_999,
    ):
        answer = client.http.post(client.url + "/api/gateways/kick", data=body, timeout=10)
        assert answer.status_code == 400 and answer.json()["error"], body
    for body in (b'{"seconds": -1}', b'{"seconds": "1"}', b'{"seconds": true}', b'{"seconds": 1e9}'):
        assert client.http.post(client.url + "/api/drain", data=body, timeout=10).status_code == 400


def test_methods_that_are_not_allowed(client: Client) -> None:
    for method, path, allowed in (
        ("POST", "/api/sessions", "GET"),
        ("GET", "/api/reload", "POST"),
        ("DELETE", "/api/drain", "POST"),
        ("POST", "/", "GET, HEAD"),
        ("PUT", "/metrics", "GET"),
        ("GET", "/api/sessions/0b8f7a52-6c1e-4f0b-9a53-2f1f6f0c9d11/kick", "POST"),
    ):
        answer = client.http.request(method, client.url + path, timeout=10)
        assert (answer.status_code, answer.headers["Allow"]) == (405, allowed), path


def test_reloading_says_what_is_wrong(tunnel: Tunnel, tmp_path: Path) -> None:
    from hubble.policy import LuaPolicy

    script = tmp_path / "policy.lua"
    script.write_text("function connect(r) return true end")
    with Tunnel(LuaPolicy(script), with_agents=False) as scripted:
        client = Client(scripted)
        assert client.post("/api/reload") == {"done": True, "problems": []}
        script.write_text("function connect(r) return")
        (problem,) = client.post("/api/reload")["problems"]
        assert "policy.lua" in problem


def test_draining_is_begun(tunnel: Tunnel) -> None:
    asked: list[float] = []
    client = Client(tunnel, drain=asked.append)
    assert client.post("/api/drain", {"seconds": 7}, status=202) == {"done": True}
    assert client.post("/api/drain", status=202) == {"done": True}
    assert asked == [7.0, 30.0]


def test_a_proxy_on_its_own_drains_itself(tunnel: Tunnel, client: Client) -> None:
    client.post("/api/drain", {"seconds": 0.1}, status=202)
    eventually(lambda: tunnel.proxy._stopped.is_set(), "it has ended")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_proxy_that_drains_answers_unless_a_successor_does(tunnel: Tunnel, replaced: bool) -> None:
    """It would speak of its own options, want its own token, and not drain what an operator means."""
    client = Client(tunnel)
    client.get("/api/status")
    tunnel.open()
    draining = gevent.spawn(tunnel.proxy.drain, 10, replaced=replaced)
    gevent.sleep(0.3)
    if replaced:
        with pytest.raises(requests.ConnectionError):
            client.get("/api/status")
    else:
        client.get("/api/status")
    assert not draining.ready()
    draining.kill()


def test_the_stream_sends_views(tunnel: Tunnel, client: Client) -> None:
    sock = tunnel.open()
    with client.http.get(client.url + "/api/stream?sort=rate&limit=10", stream=True, timeout=10) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        lines = answer.iter_lines()
        assert next(lines) == b"event: view"
        view = json.loads(next(lines).removeprefix(b"data: "))
        assert view["sessions"]["total"] == 1 and view["gateways"]["total"] == 2
        assert len(view["events"]) == 4
        next(lines), next(lines)
        assert json.loads(next(lines).removeprefix(b"data: "))["events"] == []  # what it has is not sent again
    sock.close()


def test_streams_are_few_and_end_with_their_clients(tunnel: Tunnel, client: Client) -> None:
    streams, views = [], []
    for _ in range(8):
        streams.append(requests.get(client.url + "/api/stream", stream=True, timeout=10, headers=client.http.headers))
        views.append(streams[-1].iter_lines())  # the library closes the connection when it is collected
        assert next(views[-1])
    assert client.http.get(client.url + "/api/stream", timeout=10).status_code == 503
    for stream in streams:
        stream.close()
    # At once, and not only when the next view is sent to them.
    server: Any = tunnel.proxy._services[0]
    eventually(lambda: not server._application.streams._open, "room", within=stream_module.INTERVAL / 4)


def test_security_headers(client: Client) -> None:
    for path in ("/", "/openapi.json", "/api/status", "/nothing"):
        headers = requests.get(client.url + path, timeout=10).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"


def test_a_client_that_says_nothing_is_let_go(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from hubble.admin import server

    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.1)
    host, port = client.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(b"GET / HT")
        assert sock.recv(1) == b""


def test_every_worker_answers_for_all(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with Tunnel(runtime_dir=tmp_path) as first, Tunnel(runtime_dir=tmp_path, with_agents=False) as second:
        client = Client(second)
        here, elsewhere = first.open(), first.open()
        assert client.get("/api/sessions")["total"] == 2
        assert [row["slot"] for row in client.get("/api/workers")["items"]] == [0, 1]
        first.agents[1]._keeper.targets = [parse_url(second.url)]
        gateway = first.proxy.gateways.get("entry")
        assert gateway is not None
        gateway.link.abort("cut by the test")
        second.logger.wait(SessionResumed, 2)
        page = client.get("/api/sessions")
        assert page["total"] == 2 and {row["worker"] for row in page["items"]} == {second.proxy.me.id}
        rows = client.get("/api/gateways", sort="name", order="desc")["items"]
        assert [row["name"] for row in rows] == ["exit", "entry"] and len({row["worker"] for row in rows}) == 2
        session = page["items"][0]["session"]
        client.post(f"/api/sessions/{session}/kick")
        with pytest.raises(ConnectionResetError):
            (here.recv(1), elsewhere.recv(1))
        assert client.get("/api/sessions")["total"] == 1
        client.post("/api/gateways/block", {"name": "exit"})
        assert first.logger.wait(RegistrationRefused).gateway == "exit"
        samples = _samples(client)
        assert samples['hubble_gateways{worker="0"}'] + samples['hubble_gateways{worker="1"}'] == 1


def test_metrics(tunnel: Tunnel, client: Client) -> None:
    sock = tunnel.open()
    exchange(sock, b"x" * 5000)
    samples = _samples(client)
    assert samples['hubble_sessions{state="open",worker="0"}'] == 1
    assert samples['hubble_session_bytes_total{direction="to_exit",worker="0"}'] == 5005
    assert samples['hubble_session_requests_total{result="opened",worker="0"}'] == 1
    assert samples['hubble_authorization_seconds_count{decision="granted",worker="0"}'] == 1
    assert samples['hubble_session_setup_seconds_count{worker="0"}'] == 1
    assert samples['hubble_registrations_total{result="registered",worker="0"}'] == 2
    assert samples['hubble_event_drops_total{logger="0:tail",worker="0"}'] == 0
    sock.close()
    tunnel.logger.wait(CloseSession)
    samples = _samples(client)
    assert samples['hubble_sessions_closed_total{reason="closed",worker="0"}'] == 1
    assert samples['hubble_session_bytes_total{direction="to_entry",worker="0"}'] == 5005
    assert samples['hubble_sessions{state="open",worker="0"}'] == 0


def test_no_label_holds_what_agents_choose(tunnel: Tunnel, client: Client) -> None:
    tunnel.agent("a-name-of-its-own")
    tunnel.open().close()
    tunnel.logger.wait(CloseSession)
    text = client.http.get(client.url + "/metrics", timeout=10).text
    assert "a-name-of-its-own" not in text and "127.0.0.1" not in text
    labels = set(re.findall(r'(\w+)="', text))
    assert labels <= {"worker", "state", "direction", "result", "reason", "decision", "logger", "le", "version", "at"}


def _samples(client: Client) -> dict[str, float]:
    answer = client.http.get(client.url + "/metrics", timeout=10)
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = (line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_a_request_leaves_nothing_for_the_garbage_collector() -> None:
    """Each would keep 10 KB until the next collection, which is minutes away."""
    listener = open_listener("127.0.0.1", 0)
    server = WSGIServer(
        listener, lambda environ, start_response: start_response("200 OK", []) and [], handler_class=AdminHandler,
        log=None,
    )  # fmt: skip
    server.start()

    def ask() -> None:
        with socket.create_connection(listener.getsockname()) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while sock.recv(4096):
                pass

    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            ask()
        poll(lambda: not any(isinstance(each, AdminHandler) for each in gc.get_objects()), 5, "all are gone")
    finally:
        gc.enable()
        server.stop()
