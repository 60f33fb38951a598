"""Keys that are verified: fairly, without holding the hub, and once."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from hubble.base.runtimedir import KEYS_KNOWN as KNOWN
from hubble.base.runtimedir import KEYS_SECRET as SECRET
from hubble.policy import keys, knownkeys, verifier
from hubble.policy.keys import KeyHash, hash_key
from hubble.policy.knownkeys import KnownKeys
from hubble.policy.verifier import KeyVerifier, Overload

PATIENCE = 20.0


@pytest.fixture(scope="module")
def hashed() -> KeyHash:
    return KeyHash.parse(hash_key("the key"))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys for which scrypt is computed from now on."""
    computed: list[str] = []
    scrypt = keys._scrypt

    def count(key: str, *arguments: object) -> bytes:
        computed.append(key)
        return scrypt(key, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(keys, "_scrypt", count)
    return computed


class Gate:
    """Takes the place of the threads: each key waits to be let through; the order in which they came."""

    def __init__(self, verifier: KeyVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
        self.order: list[str] = []
        self.open = Event()
        monkeypatch.setattr("hubble.policy.verifier.in_thread", self._verify)

    def _verify(self, pool: object, work: Callable[..., bool], key: str) -> bool:
        self.order.append(key)
        self.open.wait(PATIENCE)
        gevent.sleep(0)
        return key.startswith("right")


def test_right_and_wrong(hashed: KeyHash) -> None:
    verifier = KeyVerifier()
    assert verifier.verify([hashed], "the key")
    assert not verifier.verify([hashed], "another")
    assert not verifier.verify([hashed], "")
    assert not verifier.verify([hashed], "x" * 5000)
    assert not verifier.verify([], "the key")


def test_a_key_is_computed_once_right_or_wrong(hashed: KeyHash, computed: list[str]) -> None:
    verifier = KeyVerifier()
    for _ in range(3):
        assert verifier.verify([hashed], "the key")
        assert not verifier.verify([hashed], "wrong")
    assert computed == ["the key", "wrong"]


def test_a_wrong_key_is_forgotten_after_a_while(
    hashed: KeyHash, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("hubble.policy.verifier.time.monotonic", lambda: now)
    keeper = KeyVerifier()
    keeper.verify([hashed], "wrong")
    now += verifier.WRONG_SECONDS
    keeper.verify([hashed], "wrong")
    assert computed == ["wrong", "wrong"]


def test_the_same_key_at_the_same_time_is_computed_once(hashed: KeyHash, computed: list[str]) -> None:
    verifier = KeyVerifier()
    tasks = [gevent.spawn(verifier.verify, [hashed], "the key", f"10.0.{n}.1") for n in range(50)]
    gevent.joinall(tasks, timeout=PATIENCE, raise_error=True)
    assert all(task.value for task in tasks)
    assert computed == ["the key"]


def test_what_is_remembered_is_no_key(hashed: KeyHash, tmp_path: Path) -> None:
    verifier = KeyVerifier(tmp_path)
    verifier.verify([hashed], "the key")
    assert "the key" not in repr(vars(verifier)) + repr(vars(verifier._known))
    assert all(b"the key" not in path.read_bytes() for path in tmp_path.iterdir())


def test_another_hash_of_the_key_is_computed(hashed: KeyHash) -> None:
    verifier = KeyVerifier()
    assert verifier.verify([hashed], "the key")
    assert not verifier.verify([KeyHash.parse(hash_key("x"))], "the key")


def test_the_hub_goes_on(hashed: KeyHash) -> None:
    """While eight wrong keys are verified, other greenlets run all the time."""
    verifier = KeyVerifier()
    started = time.perf_counter()
    assert not hashed.fits("alone")
    alone = time.perf_counter() - started
    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            gevent.sleep(alone / 20)
            turns += 1

    counter = gevent.spawn(count)
    tasks = [gevent.spawn(verifier.verify, [hashed], f"wrong {n}") for n in range(8)]
    gevent.joinall(tasks, timeout=PATIENCE, raise_error=True)
    counter.kill()
    assert [task.value for task in tasks] == [False] * 8
    assert turns > 20


class TestFairness:
    def test_networks_take_turns(self, hashed: KeyHash, monkeypatch: pytest.MonkeyPatch) -> None:
        """A right key from a network of its own is next, however many wrong ones wait from another."""
        keeper = KeyVerifier()
        gate = Gate(keeper, monkeypatch)
        wrong = [gevent.spawn(keeper.verify, [hashed], f"wrong {n}", f"203.0.113.{n}") for n in range(20)]
        gevent.sleep(0)
        right = gevent.spawn(keeper.verify, [hashed], "right", "198.51.100.1")
        gevent.sleep(0)
        gate.open.set()
        gevent.joinall([*wrong, right], timeout=PATIENCE, raise_error=True)
        assert right.value
        assert gate.order.index("right") <= verifier.THREADS + 1

    def test_a_network_without_wrong_keys_is_first(self, hashed: KeyHash, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many others, which have sent wrong ones before, have come before it."""
        keeper = KeyVerifier()
        gate = Gate(keeper, monkeypatch)
        gate.open.set()
        for number in range(100):
            keeper.verify([hashed], f"wrong {number}", f"10.0.{number}.1")
        gate.open.clear()
        gate.order.clear()
        wrong = [gevent.spawn(keeper.verify, [hashed], f"wrong again {n}", f"10.0.{n}.1") for n in range(100)]
        gevent.sleep(0)
        right = gevent.spawn(keeper.verify, [hashed], "right", "198.51.100.1")
        gevent.sleep(0)
        gate.open.set()
        gevent.joinall([*wrong, right], timeout=PATIENCE)
        assert right.value
        assert gate.order[verifier.THREADS] == "right"

    def test_one_network_cannot_take_all_places(self, hashed: KeyHash, monkeypatch: pytest.MonkeyPatch) -> None:
        keeper = KeyVerifier()
        gate = Gate(keeper, monkeypatch)
        wrong = [gevent.spawn(keeper.verify, [hashed], f"wrong {n}", "2001:db8::1") for n in range(100)]
        gevent.sleep(0)
        assert len(keeper._turns) == verifier.MAX_WAITING_EACH
        right = gevent.spawn(keeper.verify, [hashed], "right", "2001:db8:1::1")
        gevent.sleep(0)
        gate.open.set()
        gevent.joinall([*wrong, right], timeout=PATIENCE)
        assert right.value
        overloaded = [task for task in wrong if isinstance(task.exception, Overload)]
        assert len(overloaded) == 100 - verifier.THREADS - verifier.MAX_WAITING_EACH

    def test_when_all_places_are_taken_whoever_has_most_gives_one(
        self, hashed: KeyHash, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keeper = KeyVerifier()
        gate = Gate(keeper, monkeypatch)
        wrong = [gevent.spawn(keeper.verify, [hashed], f"wrong {n}", f"10.0.{n % 20}.{n // 20}") for n in range(1000)]
        gevent.sleep(0)
        assert len(keeper._turns) == verifier.MAX_WAITING
        right = gevent.spawn(keeper.verify, [hashed], "right", "198.51.100.1")
        gevent.sleep(0)
        assert len(keeper._turns) == verifier.MAX_WAITING
        gate.open.set()
        gevent.joinall([*wrong, right], timeout=PATIENCE)
        assert right.value

    def test_whoever_waits_too_long_is_told_to_come_again(
        self, hashed: KeyHash, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verifier, "PATIENCE", 0.05)
        keeper = KeyVerifier()
        gate = Gate(keeper, monkeypatch)
        tasks = [gevent.spawn(keeper.verify, [hashed], f"right {n}") for n in range(4)]
        gevent.joinall(tasks[verifier.THREADS :], timeout=PATIENCE)
        assert {type(task.exception) for task in tasks[verifier.THREADS :]} == {Overload}
        gate.open.set()
        gevent.joinall(tasks, timeout=PATIENCE)
        assert all(task.value for task in tasks[: verifier.THREADS])
        assert len(keeper._turns) == 0
        assert keeper.verify([hashed], "right again")

    def test_a_waiter_that_is_killed_leaves_its_place(self, hashed: KeyHash, monkeypatch: pytest.MonkeyPatch) -> None:
        keeper = KeyVerifier()
        gate = Gate(keeper, monkeypatch)
        tasks = [gevent.spawn(keeper.verify, [hashed], f"right {n}") for n in range(6)]
        gevent.sleep(0)
        gevent.killall(tasks)
        gate.open.set()
        assert len(keeper._turns) == 0
        assert keeper.verify([hashed], "right again")


class TestShared:
    def test_among_workers_and_over_restarts(self, hashed: KeyHash, tmp_path: Path, computed: list[str]) -> None:
        first, second = KeyVerifier(tmp_path), KeyVerifier(tmp_path)
        assert first.verify([hashed], "the key")
        assert second.verify([hashed], "the key")
        assert KeyVerifier(tmp_path).verify([hashed], "the key")
        assert computed == ["the key"]

    def test_wrong_keys_are_not(self, hashed: KeyHash, tmp_path: Path, computed: list[str]) -> None:
        assert not KeyVerifier(tmp_path).verify([hashed], "wrong")
        assert not KeyVerifier(tmp_path).verify([hashed], "wrong")
        assert computed == ["wrong"] * 2

    def test_the_files_are_this_users_alone(self, hashed: KeyHash, tmp_path: Path) -> None:
        KeyVerifier(tmp_path).verify([hashed], "the key")
        assert {path.name for path in tmp_path.iterdir()} == {SECRET, KNOWN}
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}

    @pytest.mark.parametrize("name", [SECRET, KNOWN])
    def test_files_that_others_could_change_are_not_believed(
        self, hashed: KeyHash, tmp_path: Path, name: str, computed: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        KeyVerifier(tmp_path).verify([hashed], "the key")
        (tmp_path / name).chmod(0o660)
        assert KeyVerifier(tmp_path).verify([hashed], "the key")
        assert computed == ["the key"] * 2
        assert "the file is not private" in caplog.text

    def test_a_link_is_not_followed(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        target = tmp_path / "target"
        (tmp_path / KNOWN).symlink_to(target)
        KnownKeys(tmp_path).add(bytes(32))
        assert not target.exists()

    def test_a_full_disk_stops_nobody(self, hashed: KeyHash, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keeper = KeyVerifier(tmp_path)

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device", KNOWN)

        monkeypatch.setattr("hubble.policy.knownkeys.os.write", full)
        assert keeper.verify([hashed], "the key")
        assert keeper.verify([hashed], "the key")

    def test_a_torn_file_is_read_as_far_as_it_goes(self, tmp_path: Path) -> None:
        known = KnownKeys(tmp_path)
        known.add(b"a" * 32)
        with (tmp_path / KNOWN).open("ab") as file:
            file.write(b"torn")
        known.add(b"b" * 32)
        other = KnownKeys(tmp_path)
        assert b"a" * 32 in other and b"b" * 32 in other

    def test_file_and_memory_are_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(knownkeys, "MAX_KNOWN", 10)
        known, other = KnownKeys(tmp_path), KnownKeys(tmp_path)
        for number in range(100):
            known.add(number.to_bytes(32))
            assert number.to_bytes(32) in other
        assert len(known) <= 10 and len(other) <= 10
        assert (tmp_path / KNOWN).stat().st_size <= 11 * 32


def test_wrong_ones_are_bounded(hashed: KeyHash, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "MAX_WRONG", 2)
    keeper = KeyVerifier()
    Gate(keeper, monkeypatch).open.set()
    for number in range(5):
        keeper.verify([hashed], f"wrong {number}")
    assert len(keeper._wrong) == 2
