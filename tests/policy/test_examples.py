"""The scripts and the rules of examples/policy/, as they are, each branch; those that ask a service ask a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hubble.policy import Authorizer, ConnectionRequest, LuaPolicy, RegistrationRequest, RulesPolicy, guarded
from tests.support.httpservers import Answer, HttpServer, Received, refusing, serving

EXAMPLES = Path(__file__).parents[2] / "examples" / "policy"
SERVICE = "http://127.0.0.1:8090"

Load = Callable[..., Authorizer]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """An example's policy. Its service is at `service`, and it sees the time that `now` tells."""

    def policy(name: str, service: str = SERVICE, now: int | None = None) -> Authorizer:
        source = (EXAMPLES / name).read_text().replace(SERVICE, service)
        if now is not None:
            source = f"local date = os.date os.date = function(layout) return date('!' .. layout, {now}) end {source}"
        path = tmp_path / name
        path.write_text(source)
        return guarded(LuaPolicy(path))

    return policy


@contextmanager
def local_service(*arguments: str | os.PathLike[str]) -> Iterator[str]:
    """The examples' own service as a process; yields its URL."""
    command = [sys.executable, EXAMPLES / "local_service.py", *arguments]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def test_every_script_is_tested_and_described() -> None:
    names = {path.name for path in EXAMPLES.glob("*.lua")}
    document = (EXAMPLES.parents[1] / "docs" / "policy.md").read_text()
    assert names == {"business_hours.lua", "http_lookup.lua", "one_time_keys.lua", "port_sets.lua", "allow_list.lua"}
    assert all(f"examples/policy/{name}" in document for name in names)
    for name in names:
        assert (EXAMPLES / name).read_text() in document, f"docs/policy.md shows another {name}"


class TestBusinessHours:
    WEDNESDAY = 1_700_006_400  # midnight, 15 November 2023, UTC

    @pytest.mark.parametrize(
        ("days", "hour", "allowed"),
        [(0, 7.99, False), (0, 8, True), (0, 17.99, True), (0, 18, False),
         (2, 12, True), (3, 12, False), (4, 12, False), (5, 12, True)],
    )  # fmt: skip
    def test_hours(self, load: Load, days: int, hour: float, allowed: bool) -> None:
        now = self.WEDNESDAY + days * 86400 + int(hour * 3600)
        decision = load("business_hours.lua", now=now).connect(ConnectionRequest(source="office", gateway="db"))
        assert decision.allowed is allowed
        assert not decision.error
        assert decision.detail == ("" if allowed else "outside business hours")

    def test_operations_at_any_time(self, load: Load) -> None:
        assert load("business_hours.lua", now=self.WEDNESDAY).connect(ConnectionRequest(source="ops-1")).allowed

    def test_by_the_real_clock(self, load: Load) -> None:
        assert not load("business_hours.lua").connect(ConnectionRequest(source="office")).error


class TestHttpLookup:
    REQUEST = ConnectionRequest(
        host="10.0.0.5", port=5432, gateway="db", key="the key", source="office", source_ip="192.0.2.1"
    )

    @staticmethod
    def decide(request: Received) -> Answer | int:
        question = json.loads(request.body)
        if question["gateway"] == "broken":
            return 500
        known = {"source": "office", "source_ip": "192.0.2.1", "host": "10.0.0.5", "port": 5432, "key": "the key"}
        allowed = question == {**known, "gateway": "db"} and request.headers["content-type"] == "application/json"
        answer = {"allowed": allowed, "seconds": 60} if allowed else {"allowed": False, "reason": "not known"}
        return 200, [("Content-Type", "application/json")], json.dumps(answer).encode()

    @pytest.fixture
    def server(self) -> Iterator[HttpServer]:
        with serving(self.decide) as running:
            yield running

    def test_allowed_and_cached(self, load: Load, server: HttpServer) -> None:
        policy = load("http_lookup.lua", server.url)
        decisions = [policy.connect(self.REQUEST) for _ in range(3)]
        assert [decision.allowed for decision in decisions] == [True, True, True]
        assert len(server.received) == 1

    def test_denied_and_not_cached(self, load: Load, server: HttpServer) -> None:
        policy = load("http_lookup.lua", server.url)
        request = ConnectionRequest(host="10.0.0.6", port=5432, gateway="db")
        decisions = [policy.connect(request) for _ in range(2)]
        assert [(decision.allowed, decision.error, decision.detail) for decision in decisions] == [
            (False, False, "not known")
        ] * 2
        assert len(server.received) == 2

    def test_a_service_that_fails(self, load: Load, server: HttpServer) -> None:
        decision = load("http_lookup.lua", server.url).connect(ConnectionRequest(gateway="broken"))
        assert decision.error
        assert decision.detail.endswith("the service answered 500")

    def test_a_service_that_is_away(self, load: Load) -> None:
        with refusing() as url:
            assert "connection refused" in load("http_lookup.lua", url).connect(self.REQUEST).detail


class TestOneTimeKeys:
    @pytest.fixture
    def service(self, tmp_path: Path) -> Iterator[str]:
        keys = tmp_path / "keys.sqlite3"
        add = [sys.executable, str(EXAMPLES / "local_service.py"), "--keys", str(keys), "--add-key", "-"]
        subprocess.run(add, input="first & key\n", text=True, check=True, timeout=30)
        with local_service("--keys", keys) as url:
            yield url

    def test_a_key_opens_one_session(self, load: Load, service: str) -> None:
        policy = load("one_time_keys.lua", service)

        def ask(key: str, session: str) -> bool:
            decision = policy.connect(ConnectionRequest(key=key, session=session))
            assert not decision.error, decision.detail
            return decision.allowed

        assert not ask("", "s1")
        assert not ask("unknown", "s1")
        assert ask("first & key", "s1")
        assert not ask("first & key", "s2")
        assert policy.resume(ConnectionRequest(key="first & key", session="s1", resumes=True)).allowed
        assert not policy.resume(ConnectionRequest(key="first & key", session="s2", resumes=True)).allowed

    def test_the_service_away(self, load: Load) -> None:
        with refusing() as url:
            assert load("one_time_keys.lua", url).connect(ConnectionRequest(key="k", session="s")).error

    def test_the_service_broken(self, load: Load) -> None:
        with serving(lambda _request: 500) as server:
            decision = load("one_time_keys.lua", server.url).connect(ConnectionRequest(key="k", session="s"))
        assert decision.error
        assert decision.detail.endswith("the key service answered 500")


class TestPortSets:
    @pytest.mark.parametrize(
        ("name", "key", "identity"),
        [
            ("acme-office", "change me: acme", "acme"),
            ("acme-office", "change me: globex", None),
            ("globex-1", "change me: globex", "globex"),
            ("acme", "change me: acme", None),
            ("other-1", "", None),
        ],
    )
    def test_registration(self, load: Load, name: str, key: str, identity: str | None) -> None:
        decision = load("port_sets.lua").register(RegistrationRequest(name, key))
        assert not decision.error, decision.detail
        assert (decision.allowed, decision.identity) == (identity is not None, identity or "")

    @pytest.mark.parametrize(
        ("identity", "gateway", "port", "allowed"),
        [
            ("acme", "acme-server", 22, True),
            ("acme", "acme-server", 8000, True),
            ("acme", "acme-server", 8099, True),
            ("acme", "acme-server", 8100, False),
            ("acme", "acme-server", 3389, False),
            ("acme", "globex-server", 22, False),
            ("globex", "globex-server", 3389, True),
            ("", "acme-server", 22, False),
            ("acme", "server", 22, False),
        ],
    )
    def test_sessions(self, load: Load, identity: str, gateway: str, port: int, allowed: bool) -> None:
        decision = load("port_sets.lua").connect(ConnectionRequest(identity=identity, gateway=gateway, port=port))
        assert not decision.error, decision.detail
        assert decision.allowed is allowed


@pytest.fixture(scope="module")
def allow_list(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    keys = tmp_path_factory.mktemp("service") / "keys.sqlite3"
    with local_service("--keys", keys, "--allow-list", EXAMPLES / "allow-list.json") as url:
        yield url


class TestAllowList:
    @pytest.mark.parametrize(
        ("source", "gateway", "host", "port", "detail"),
        [
            ("office-1", "db", "10.0.0.5", 5432, "entry 1 of the list"),
            ("office-1", "web", "anything", 80, "entry 2 of the list"),
            ("admin-laptop", "db", "10.0.0.9", 1, "entry 3 of the list"),
            ("office-1", "db", "10.0.0.5", 22, None),
            ("officer", "db", "10.0.0.5", 5432, None),
            ("guest", "web", "anything", 80, None),
        ],
    )
    def test_sessions(
        self, load: Load, allow_list: str, source: str, gateway: str, host: str, port: int, detail: str | None
    ) -> None:
        decision = load("allow_list.lua", allow_list).connect(
            ConnectionRequest(host=host, port=port, gateway=gateway, source=source)
        )
        assert (decision.allowed, decision.error) == (detail is not None, False)
        assert decision.detail == (detail or "not on the list")

    def test_a_change_holds_at_once(self, load: Load, tmp_path: Path) -> None:
        path = tmp_path / "list.json"
        path.write_text("[]")
        with local_service("--keys", tmp_path / "keys.sqlite3", "--allow-list", path) as url:
            policy = load("allow_list.lua", url)
            assert not policy.connect(ConnectionRequest(source="a")).allowed
            path.write_text('[{"source": "a"}]')
            assert policy.connect(ConnectionRequest(source="a")).allowed

    @pytest.mark.parametrize("answer", [404, (200, [], b"no JSON")])
    def test_a_broken_list_denies(self, load: Load, answer: Answer | int) -> None:
        with serving(lambda _request: answer) as server:
            assert load("allow_list.lua", server.url).connect(ConnectionRequest(source="a")).error


@pytest.fixture(scope="module")
def policy() -> RulesPolicy:
    return RulesPolicy(EXAMPLES / "rules.toml")


class TestRules:
    @pytest.mark.parametrize(
        ("name", "key", "subject", "identity"),
        [
            ("office-1", "correct horse", "", "office"),
            ("office-1", "battery staple", "", None),
            ("db", "battery staple", "", "datacentre"),
            ("web-shared", "battery staple", "", "datacentre"),
            ("admin-7", "", "CN=admin-7,O=Example", "admin"),
            ("admin-7", "", "", None),
        ],
    )
    def test_registration(self, policy: RulesPolicy, name: str, key: str, subject: str, identity: str | None) -> None:
        decision = policy.register(RegistrationRequest(name, key, "192.0.2.1", subject))
        assert (decision.allowed, decision.identity) == (identity is not None, identity or "")

    @pytest.mark.parametrize(
        ("identity", "gateway", "host", "port", "key", "allowed"),
        [
            ("office", "db", "10.0.0.5", 5432, "", True),
            ("office", "db", "x.db.example.com", 5432, "", True),
            ("office", "db", "10.0.1.5", 5432, "", False),
            ("office", "db", "10.0.0.5", 22, "", False),
            ("office", "web-test", "localhost", 8050, "", True),
            ("office", "web-shared", "localhost", 80, "open sesame", True),
            ("office", "web-shared", "localhost", 80, "open", False),
            ("admin", "db", "10.9.9.9", 22, "", True),
            ("admin", "db", "mail", 25, "", False),
            ("datacentre", "db", "10.0.0.5", 5432, "", False),
        ],
    )
    def test_sessions(
        self, policy: RulesPolicy, identity: str, gateway: str, host: str, port: int, key: str, allowed: bool
    ) -> None:
        request = ConnectionRequest(host=host, port=port, gateway=gateway, key=key, identity=identity)
        assert policy.connect(request).allowed is allowed
