"""Names that do not answer stop nothing else."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator

import gevent
import pytest

from hubble.base.errors import DialError
from hubble.transport import addresses, resolver
from hubble.transport.resolver import Found, Lookups
from tests.support.waiting import poll

ANSWER: Found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]


class Names:
    """A getaddrinfo for which names that begin with "stuck" do not answer before `release`."""

    def __init__(self) -> None:
        self.asked = Counter[str]()
        self._gate, self._key = os.pipe()

    def getaddrinfo(self, host: str, *arguments: object) -> Found:
        self.asked[host] += 1
        if host.startswith("stuck"):
            os.read(self._gate, 1)  # gevent leaves it alone: the thread is blocked
        if host.startswith("missing"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return ANSWER

    def release(self) -> None:
        os.write(self._key, bytes(100))


@pytest.fixture
def names() -> Iterator[Names]:
    names = Names()
    yield names
    names.release()


@pytest.fixture
def lookups(names: Names) -> Lookups:
    """Four threads, one of which is for names that are known."""
    return Lookups(4, 10, names.getaddrinfo)


def stick(lookups: Lookups, count: int) -> list[gevent.Greenlet]:
    greenlets = [gevent.spawn(lookups.lookup, f"stuck{number}") for number in range(count)]
    gevent.sleep(0.05)
    return greenlets


def test_all_who_ask_for_a_name_share_one_lookup(lookups: Lookups, names: Names) -> None:
    asking = [gevent.spawn(lookups.lookup, "stuck") for _ in range(20)]
    poll(lambda: names.asked, 5, "it is asked")
    names.release()
    assert all(each.get(timeout=5) == ANSWER for each in asking)
    assert names.asked == {"stuck": 1}


def test_a_name_that_is_known_is_found_while_all_others_are_stuck(lookups: Lookups, names: Names) -> None:
    lookups.lookup("known")
    stuck = stick(lookups, 8)
    assert sum(names.asked.values()) - 1 == 3
    with gevent.Timeout(5):
        assert lookups.lookup("known") == ANSWER
    gevent.killall(stuck)


def test_a_lookup_that_has_not_begun_is_dropped_with_the_last_who_waits(lookups: Lookups, names: Names) -> None:
    stuck = stick(lookups, 3)
    late = [gevent.spawn(lookups.lookup, "late") for _ in range(2)]
    gevent.sleep(0)
    gevent.killall(late)
    names.release()
    gevent.joinall(stuck, timeout=5)
    assert lookups.lookup("another") == ANSWER
    assert "late" not in names.asked


def test_a_lookup_goes_on_for_those_who_still_wait(lookups: Lookups, names: Names) -> None:
    first, second = gevent.spawn(lookups.lookup, "stuck"), gevent.spawn(lookups.lookup, "stuck")
    gevent.sleep(0.05)
    first.kill()
    names.release()
    assert second.get(timeout=5) == ANSWER


def test_too_many_names_fail_at_once(lookups: Lookups, names: Names) -> None:
    stuck = stick(lookups, 3 + 10)
    with pytest.raises(socket.gaierror, match="too many names are being looked up"):
        lookups.lookup("one more")
    gevent.killall(stuck)
    assert lookups._waiting == ({}, {})


def test_failures_are_told_and_not_printed(lookups: Lookups, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        lookups.lookup("missing")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("literal", ["127.0.0.1", "::1", "fe80::1%lo", "127.1"])
def test_an_address_needs_no_thread(literal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lookups, "lookup", lambda *arguments: pytest.fail("it was looked up"))
    (found,) = addresses.resolve(literal, 80)
    assert found.sockaddr[1] == 80


def test_an_address_of_an_interface_that_is_not_there_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lookups, "lookup", lambda *arguments: pytest.fail("it was looked up"))
    with pytest.raises(DialError, match="cannot resolve"):
        addresses.resolve("fe80::1%nowhere", 80)


def test_names_of_the_hosts_file_are_found() -> None:
    assert {str(address.ip) for address in addresses.resolve("localhost", 80)} <= {"127.0.0.1", "::1"}


def test_other_libraries_ask_here_once_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = gevent.get_hub()
    before = hub.resolver
    monkeypatch.setattr(Lookups, "lookup", lambda self, *arguments: ANSWER)
    try:
        resolver.install()
        assert socket.getaddrinfo("name.invalid", 80)[0][4] == ("192.0.2.1", 0)
    finally:
        hub.resolver = before
