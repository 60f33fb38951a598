"""The Redis directory while its server goes and comes, and what it makes of URLs."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent.server import StreamServer

from hubble.base.errors import UsageError
from hubble.directory import Registration, Worker
from hubble.directory.redis import RedisDirectory
from hubble.directory.redis_server import client, shown
from tests.support.redisserver import RedisServer
from tests.support.waiting import poll

ONE, TWO = Worker("one", "", "node 1", "tcp:192.0.2.1:7000"), Worker("two", "", "node 2", "tcp:192.0.2.2:7000")
MINE = Registration("mine", "one", 1, "my owner")
YOURS = Registration("yours", "two", 1, "your owner")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.close()


@pytest.fixture
def pair(server: RedisServer) -> Iterator[tuple[RedisDirectory, RedisDirectory]]:
    """The directories of two workers, each with a name that both know."""
    here, there = RedisDirectory(server.url), RedisDirectory(server.url)
    here.join(ONE)
    there.join(TWO)
    assert here.claim(MINE) is None and there.claim(YOURS) is None
    wait_until(lambda: here._names.keys() == there._names.keys() == {"mine", "yours"})
    yield here, there
    here.close()
    there.close()


def wait_until(condition: object) -> None:
    poll(condition, 5, "the copies are up to date")  # type: ignore[arg-type]


def wait_away(*directories: RedisDirectory) -> None:
    poll(lambda: all(one.trouble for one in directories), 5, "the server is missed")


def wait_back(*directories: RedisDirectory) -> None:
    poll(lambda: not any(one.trouble for one in directories), 5, "the server is there again")


def test_what_is_known_is_found_without_asking(
    pair: tuple[RedisDirectory, RedisDirectory], server: RedisServer
) -> None:
    here, _ = pair
    server.freeze()
    try:
        started = time.monotonic()
        assert here.find("yours") == YOURS
        assert here.worker("two") == TWO
        assert here.workers() == [ONE, TWO]
        assert time.monotonic() - started < 0.1
    finally:
        server.thaw()


def test_closing_ends_what_is_being_asked(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that stops closes it while links that end still give their names back."""
    here = RedisDirectory(server.url)
    here.join(ONE)
    assert here.claim(MINE) is None
    server.freeze()
    try:
        releasing = gevent.spawn(here.release, MINE)
        gevent.idle()
        assert not releasing.ready()
        caplog.clear()
        here.close()
        releasing.get(timeout=5)
        here.release(MINE)  # and nothing that comes later raises
    finally:
        server.thaw()
    assert not caplog.records


def test_a_server_that_hangs_costs_a_second_once(
    pair: tuple[RedisDirectory, RedisDirectory], server: RedisServer
) -> None:
    here, _ = pair
    server.freeze()
    try:
        started = time.monotonic()
        ticks = gevent.spawn(lambda: [gevent.sleep(0.01) for _ in range(50)])
        claims = [gevent.spawn(here.claim, Registration(f"new {number}", "one")) for number in range(10)]
        gevent.joinall([*claims, ticks], raise_error=True)
        assert 0.5 < time.monotonic() - started < 2
        assert here.trouble
        for call in (here.workers, lambda: here.find("unknown"), lambda: here.renew(ONE), lambda: here.leave("three")):
            started = time.monotonic()
            call()
            assert time.monotonic() - started < 0.1
    finally:
        server.thaw()
    wait_back(here)


def test_names_claimed_while_the_server_is_away_are_published_when_it_is_back(
    pair: tuple[RedisDirectory, RedisDirectory], server: RedisServer
) -> None:
    here, there = pair
    server.kill()
    wait_away(here, there)
    assert here.find("yours") == YOURS
    new = Registration("new", "one", 1, "owner")
    assert here.claim(new) is None
    assert here.find("new") == new
    assert here.claim(Registration("yours", "one", 1, "owner")) == YOURS
    assert here.renew(ONE) and there.renew(TWO)
    server.start()
    wait_back(here, there)
    assert not here.renew(ONE) and not there.renew(TWO)
    assert here.join(ONE, [MINE, new]) == [] and there.join(TWO, [YOURS]) == []
    assert here.renew(ONE) and there.renew(TWO)
    wait_until(lambda: there.find("new") == new and here.find("yours") == YOURS and there.find("mine") == MINE)


def test_what_a_restarted_server_has_forgotten_stays_known_until_it_is_told_again(
    pair: tuple[RedisDirectory, RedisDirectory], server: RedisServer
) -> None:
    here, there = pair
    server.kill()
    wait_away(here, there)
    server.start()
    wait_back(here, there)
    assert here.find("yours") == YOURS and here.worker("two") == TWO
    moved = dataclasses.replace(YOURS, name="yours now")
    assert there.join(TWO, [moved]) == []
    wait_until(lambda: here.find("yours now") == moved)
    wait_until(lambda: here.find("yours") is None)
    assert here.worker("two") == TWO


def test_who_does_not_tell_it_again_in_time_is_forgotten(
    pair: tuple[RedisDirectory, RedisDirectory], server: RedisServer
) -> None:
    here, there = pair
    here._lease = 0.5
    server.kill()
    wait_away(here, there)
    server.start()
    wait_back(here)
    assert here.join(ONE, [MINE]) == []
    assert here.find("yours") == YOURS

    def is_forgotten() -> bool:
        assert here.renew(ONE)
        return here.find("yours") is None and here.worker("two") is None

    poll(is_forgotten, 5, "the worker is forgotten")
    assert here.find("mine") == MINE


def test_what_another_worker_tells_counts_while_the_server_is_away(
    pair: tuple[RedisDirectory, RedisDirectory], server: RedisServer
) -> None:
    here, there = pair
    taken: list[Registration] = []
    here.on_taken = taken.append
    told = Registration("told", "two", 1, "owner")
    here.learn(told)
    assert here.find("told") is None
    server.kill()
    wait_away(here, there)
    here.learn(told)
    assert here.find("told") == told
    here.learn(dataclasses.replace(MINE, worker="two", epoch=2, owner="another"))
    assert here.find("mine") == MINE
    moved = dataclasses.replace(MINE, worker="two", epoch=2)
    here.learn(moved)
    assert here.find("mine") == moved
    poll(lambda: taken == [moved], 5, "the loser is told")


def test_a_name_that_two_have_claimed_meanwhile_stays_with_the_first_to_tell(
    pair: tuple[RedisDirectory, RedisDirectory], server: RedisServer
) -> None:
    here, there = pair
    server.kill()
    wait_away(here, there)
    this, that = Registration("new", "one", 9, "an owner"), Registration("new", "two", 1, "another")
    assert here.claim(this) is None and there.claim(that) is None
    server.start()
    wait_back(here, there)
    assert there.join(TWO, [YOURS, that]) == []
    assert here.join(ONE, [MINE, this]) == [that]
    wait_until(lambda: here.find("new") == there.find("new") == that)


def test_of_the_same_agents_two_registrations_the_later_wins(
    pair: tuple[RedisDirectory, RedisDirectory], server: RedisServer
) -> None:
    here, there = pair
    taken: list[Registration] = []
    there.on_taken = taken.append
    server.kill()
    wait_away(here, there)
    earlier, later = Registration("new", "two", 1, "owner"), Registration("new", "one", 2, "owner")
    assert here.claim(later) is None and there.claim(earlier) is None
    server.start()
    wait_back(here, there)
    assert there.join(TWO, [earlier]) == []
    assert here.join(ONE, [later]) == []
    poll(lambda: taken == [later], 5, "the loser is told")


def test_a_worker_hears_that_its_name_was_taken(pair: tuple[RedisDirectory, RedisDirectory]) -> None:
    here, there = pair
    taken: list[Registration] = []
    here.on_taken = taken.append
    moved = dataclasses.replace(MINE, worker="two", epoch=2)
    assert there.claim(moved, replaces=MINE) is None
    poll(lambda: taken == [moved], 5, "the worker hears it")


def test_taking_a_name_back_and_forth_never_confuses_the_holder(pair: tuple[RedisDirectory, RedisDirectory]) -> None:
    """A notification may arrive after the answer to a later claim: it must not count."""
    here, there = pair
    taken: list[Registration] = []
    here.on_taken = taken.append
    holder = MINE
    for epoch in range(2, 200, 2):
        moved = dataclasses.replace(MINE, worker="two", epoch=epoch)
        assert there.claim(moved, replaces=holder) is None
        holder = dataclasses.replace(MINE, epoch=epoch + 1)
        assert here.claim(holder, replaces=moved) is None
    wait_until(lambda: here.find("mine") == there.find("mine") == holder)
    assert here.renew(ONE)
    assert all(one.epoch < holder.epoch for one in taken)


def test_a_server_that_takes_no_writes_is_away(
    pair: tuple[RedisDirectory, RedisDirectory], server: RedisServer
) -> None:
    here, _ = pair
    here._redis.config_set("maxmemory", 1)
    assert here.claim(Registration("new", "one", 1, "owner")) is None
    assert here.trouble
    gevent.sleep(2)  # longer than it takes to connect again: it must not count as there
    assert here.trouble
    here._redis.config_set("maxmemory", 0)
    wait_back(here)


def test_a_server_that_trickles_is_not_waited_for() -> None:
    """Each of its bytes comes in time, its answer never does."""

    def trickle(sock: socket.socket, _address: object) -> None:
        sock.sendall(b"$1000000\r\n")
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b"x")
                gevent.sleep(0.2)

    trickler = StreamServer(("127.0.0.1", 0), trickle)
    trickler.start()
    directory = RedisDirectory(f"redis://127.0.0.1:{trickler.server_port}")
    directory._follower.kill()
    directory._trouble = ""
    started = time.monotonic()
    assert directory.find("unknown") is None
    assert time.monotonic() - started < 1.5
    assert directory.trouble
    directory.close()
    trickler.stop(timeout=0)


def test_a_server_that_is_not_there_yet_is_waited_for(server: RedisServer) -> None:
    server.kill()
    directory = RedisDirectory(server.url)
    try:
        assert directory.trouble
        assert directory.join(ONE) == []
        assert directory.claim(MINE) is None
        server.start()
        wait_back(directory)
        assert not directory.renew(ONE)
        assert directory.join(ONE, [MINE]) == []
        assert directory.renew(ONE)
    finally:
        directory.close()


def test_nothing_is_left_of_a_closed_directory(server: RedisServer) -> None:
    watcher = RedisDirectory(server.url)
    before = len(watcher._redis.client_list())
    directory = RedisDirectory(server.url)
    directory.join(ONE)
    directory.leave("one")
    directory.close()
    poll(lambda: len(watcher._redis.client_list()) <= before, 5, "its connections are closed")
    assert watcher._redis.keys("hubble:*") == ["hubble:version"]
    watcher.close()


def test_a_user_needs_no_more_than_the_manual_says(server: RedisServer) -> None:
    """docs/operating.md"""
    root = RedisDirectory(server.url)
    rights = "~hubble:* resetchannels &hubble:changes -@all +@read +@write +@scripting +@pubsub +@connection +time"
    root._redis.execute_command("ACL", "SETUSER", "hubble", "on", ">secret", *rights.split())
    directory = RedisDirectory(f"redis://hubble:secret@127.0.0.1:{server.port}/0")
    assert directory.join(ONE, [MINE]) == []
    assert directory.claim(Registration("new", "one", 1, "owner")) is None
    assert directory.find("unknown") is None
    directory.release(Registration("new", "one", 1, "owner"))
    assert directory.renew(ONE)
    directory.leave("one")
    assert not directory.trouble
    directory.close()
    root.close()


def test_passwords_are_used_and_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server = RedisServer(tmp_path, password="Geheim%20nis".replace("%20", "-"))
    caplog.set_level(logging.DEBUG)
    try:
        directory = RedisDirectory(server.url)
        assert not directory.trouble
        directory.close()
        wrong = RedisDirectory(server.url.replace("Geheim", "Falsch"))
        assert wrong.trouble
        texts = [repr(directory), repr(wrong), wrong.trouble, shown(server.url), caplog.text]
        wrong.close()
    finally:
        server.close()
    for text in texts:
        assert "Geheim" not in text and "Falsch" not in text
    assert f"redis://127.0.0.1:{server.port}/0" in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "redis://", "redis.example:6379", "http://redis.example", "redis://host/seven", "redis://host:port",
        "redis+sentinel://one,two", "redis+sentinel://one,two/service/x", "redis+sentinel://,two/service", "",
    ],
)  # fmt: skip
def test_a_url_that_is_none_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(UsageError, match="--cluster: invalid URL; write redis://"):
        client(url)


def test_a_bad_url_does_not_show_its_password() -> None:
    with pytest.raises(UsageError) as caught:
        client("redis://user:geheim@host/seven")
    assert "geheim" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_parts_of_a_url() -> None:
    plain = client("redis://user:p%40ss@redis.example:7000/3").connection_pool.connection_kwargs
    expected = {"host": "redis.example", "port": 7000, "db": 3, "username": "user", "password": "p@ss"}
    assert expected.items() <= plain.items()
    tls = client("rediss://redis.example?ssl_ca_certs=/etc/ca.pem").connection_pool
    assert tls.connection_class.__name__ == "SSLConnection"
    assert tls.connection_kwargs["ssl_ca_certs"] == "/etc/ca.pem"


def test_a_server_found_through_sentinels(tmp_path: Path) -> None:
    """A Sentinel that knows of no such service, and one that does: real ones, of Debian's package."""
    import subprocess

    server = RedisServer(tmp_path)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    settings = tmp_path / "sentinel.conf"
    settings.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor proxies 127.0.0.1 {server.port} 1\n")
    sentinel = subprocess.Popen([server._program, str(settings), "--sentinel"], stdout=subprocess.DEVNULL, cwd=tmp_path)
    try:
        directory = RedisDirectory(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/proxies/0")
        wait_back(directory)
        directory.join(ONE)
        assert directory.claim(MINE) is None
        assert directory.renew(ONE)
        directory.close()
    finally:
        sentinel.kill()
        sentinel.wait()
        server.close()


class TestAWorkerThatIsCutOff:
    """From the server, and not from the other workers: a live link to it says that it lives."""

    @pytest.fixture
    def links(self) -> set[str]:
        """The workers that worker one has a live link to."""
        return {"two"}

    @pytest.fixture
    def cut_off(self, pair: tuple[RedisDirectory, RedisDirectory], links: set[str]) -> RedisDirectory:
        """The directory of worker one, after the lease of worker two has run out."""
        here, _ = pair
        here.is_linked = links.__contains__
        here._redis.zadd("hubble:seen", {"two": 0})
        here.renew(ONE)
        here._redis.publish("hubble:changes", '["name", "last", "", 1000000]')
        wait_until(lambda: here.was_held("last"))  # whatever was told before has been heard
        return here

    def test_keeps_its_names_while_it_is_linked(self, cut_off: RedisDirectory, links: set[str]) -> None:
        for _ in range(3):
            cut_off.renew(ONE)
        assert cut_off.find("yours") == YOURS and cut_off.worker("two") == TWO
        links.clear()
        cut_off._confirm_by = 0.0  # the directory was opened just now
        cut_off.renew(ONE)
        assert cut_off.find("yours") is None and cut_off.workers() == [ONE]

    def test_does_not_lose_a_name_to_another_without_a_word(self, cut_off: RedisDirectory) -> None:
        another = Registration("yours", "one", 2, "another owner")
        assert cut_off.claim(another) == YOURS
        assert cut_off.claim(another, replaces=YOURS) is None
        assert cut_off.find("yours") == another

    def test_is_heard_when_it_tells_of_a_name(self, cut_off: RedisDirectory) -> None:
        told = Registration("told", "two", 1, "an owner")
        cut_off.learn(told)
        assert cut_off.find("told") == told

    def test_returns(
        self, cut_off: RedisDirectory, pair: tuple[RedisDirectory, RedisDirectory], links: set[str]
    ) -> None:
        _, there = pair
        there.join(TWO, [YOURS])
        wait_until(lambda: cut_off._names["yours"].version > 0 and not cut_off._unconfirmed)
        links.clear()
        cut_off.renew(ONE)
        assert cut_off.find("yours") == YOURS


def test_a_worker_without_links_loses_its_names_with_its_lease(
    pair: tuple[RedisDirectory, RedisDirectory],
) -> None:
    here, _ = pair
    here._redis.zadd("hubble:seen", {"two": 0})
    here.renew(ONE)
    wait_until(lambda: here.find("yours") is None and here.workers() == [ONE])
