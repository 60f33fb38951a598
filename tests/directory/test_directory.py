"""What every directory promises, and what those that several workers share promise besides."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import gevent
import pytest

import hubble.directory as directory_module
from hubble.directory import Directory, Registration, Worker, owner_digest, sqlite
from tests.directory.conftest import LEASE, Opener
from tests.support.processes import ROOT
from tests.support.waiting import poll

ONE = Worker("one", "unix:/run/one.sock", "node", "tcp:192.0.2.1:7000")
TWO = Worker("two", "unix:/run/two.sock", "node")
FIRST = Registration("gateway", "one", 5, "owner")
OTHER = Registration("gateway", "two", 6, "another owner")


def soon(directory: Directory, name: str) -> Registration | None:
    """Who holds a name once this directory has heard that somebody does."""
    return poll(lambda: directory.find(name), 5, f"{name} is found")


def test_workers_are_there_until_they_leave(directory: Directory) -> None:
    assert directory.worker("one") is None
    directory.join(ONE)
    directory.join(TWO)
    assert directory.worker("one") == ONE
    assert directory.workers() == [ONE, TWO]
    directory.leave("one")
    poll(lambda: directory.worker("one") is None and directory.workers() == [TWO], 5, "it has left")


def test_a_name_is_held_by_the_first_claimant(directory: Directory) -> None:
    directory.join(ONE)
    directory.join(TWO)
    assert directory.find("gateway") is None
    assert directory.claim(FIRST) is None
    assert directory.claim(OTHER) == FIRST
    assert directory.find("gateway") == FIRST


def test_a_holder_is_replaced_only_if_it_is_the_one_meant(directory: Directory) -> None:
    directory.join(ONE)
    directory.join(TWO)
    directory.claim(FIRST)
    for wrong in (dataclasses.replace(FIRST, epoch=4), dataclasses.replace(FIRST, owner=""), OTHER):
        assert directory.claim(OTHER, replaces=wrong) == FIRST
    assert directory.claim(OTHER, replaces=FIRST) is None
    assert directory.find("gateway") == OTHER


def test_a_free_name_is_had_whatever_it_should_replace(directory: Directory) -> None:
    directory.join(TWO)
    assert directory.claim(OTHER, replaces=FIRST) is None


def test_only_ones_own_is_released(directory: Directory) -> None:
    directory.join(ONE)
    directory.claim(FIRST)
    for wrong in (dataclasses.replace(FIRST, epoch=4), dataclasses.replace(FIRST, worker="two")):
        directory.release(wrong)
        assert directory.find("gateway") == FIRST
    directory.release(FIRST)
    assert directory.find("gateway") is None
    directory.release(FIRST)


def test_a_workers_registrations_leave_with_it(directory: Directory) -> None:
    directory.join(ONE)
    directory.join(TWO)
    directory.claim(FIRST)
    directory.claim(Registration("another", "two"))
    directory.leave("one")
    poll(lambda: directory.find("gateway") is None, 5, "its name is free")
    assert directory.find("another") is not None


def test_joining_leaves_a_worker_what_it_says_it_has(directory: Directory) -> None:
    directory.join(ONE)
    for name in ("kept", "lost"):
        directory.claim(Registration(name, "one", 1, "owner"))
    wanted = [Registration("kept", "one", 1, "owner"), Registration("new", "one", 1, "owner")]
    assert directory.join(ONE, wanted) == []
    assert directory.find("kept") == wanted[0]
    assert directory.find("new") == wanted[1]
    assert directory.find("lost") is None


def test_joining_takes_names_only_from_the_same_agents_past(directory: Directory) -> None:
    directory.join(TWO)
    held = [
        Registration("earlier", "two", 1, "owner"),
        Registration("later", "two", 9, "owner"),
        Registration("another's", "two", 1, "another owner"),
        Registration("nobody's", "two", 1, ""),
    ]
    for registration in held:
        directory.claim(registration)
    refused = directory.join(ONE, [dataclasses.replace(one, worker="one", epoch=5, owner="owner") for one in held[:3]])
    assert refused == held[1:3]
    assert directory.join(ONE, [Registration("nobody's", "one", 5, "")]) == held[3:]
    assert directory.find("another's") == held[2]


def test_joining_takes_over_what_the_agent_held_before(directory: Directory) -> None:
    directory.join(TWO)
    directory.claim(Registration("gateway", "two", 1, "owner"))
    mine = Registration("gateway", "one", 5, "owner")
    assert directory.join(ONE, [mine]) == []
    assert directory.find("gateway") == mine


def test_a_name_that_was_given_back_is_known_for_a_moment(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.join(Worker("one", ""))
    directory.claim(Registration("held", "one"))
    directory.claim(Registration("released", "one"))
    directory.release(Registration("released", "one"))
    assert [directory.was_held(name) for name in ("held", "released", "never")] == [True, True, False]
    directory.leave("one")
    assert directory.was_held("held")
    for module in (directory_module, sqlite):
        monkeypatch.setattr(module, "MOMENT", 0.0)
    directory.join(Worker("two", ""))
    directory.claim(Registration("late", "two"))
    directory.leave("two")
    assert not directory.was_held("late")


def test_names_of_any_script_and_length(directory: Directory) -> None:
    directory.join(ONE)
    for name in ('a "quoted" name', "שער", "hubble:names", "/" * 255, "{}"):
        registration = Registration(name, "one", 2**53 - 1, owner_digest(b"x"))
        assert directory.claim(registration) is None
        assert directory.find(name) == registration


def test_a_worker_of_thousands_of_gateways_joins_and_leaves(directory: Directory) -> None:
    many = [Registration(f"name {number}", "one", 1, "owner") for number in range(2500)]
    directory.join(TWO)
    assert directory.join(ONE, many) == []
    assert directory.find("name 0") == many[0] and directory.find("name 2499") == many[2499]
    assert directory.join(ONE, many[:10]) == []
    assert directory.find("name 9") == many[9] and directory.find("name 10") is None
    directory.join(ONE, many)
    directory.leave("one")
    poll(lambda: not any(directory.find(one.name) for one in many[::100]), 5, "its names are free")


# Shared by several workers.


def test_every_worker_sees_the_same(open_shared: Opener) -> None:
    here, there = open_shared(), open_shared()
    here.join(ONE)
    there.join(TWO)
    assert here.claim(FIRST) is None
    assert soon(there, "gateway") == FIRST
    assert there.claim(OTHER) == FIRST
    assert there.claim(OTHER, replaces=FIRST) is None
    poll(lambda: here.find("gateway") == OTHER, 5, "the change is seen")
    there.release(OTHER)
    poll(lambda: here.find("gateway") is None, 5, "the release is seen")
    poll(lambda: here.workers() == there.workers() == [ONE, TWO], 5, "both workers are seen")


def test_every_worker_knows_what_was_given_back(open_shared: Opener) -> None:
    one, two = open_shared(), open_shared()
    one.join(Worker("one", ""))
    two.join(Worker("two", ""))
    one.claim(Registration("name", "one"))
    soon(two, "name")
    one.release(Registration("name", "one"))
    poll(lambda: two.find("name") is None and two.was_held("name"), 5, "the other knows that it was given back")


def test_a_lease_runs_out_unless_it_is_renewed(open_shared: Opener) -> None:
    here, there = open_shared(), open_shared()
    here.join(ONE)
    there.join(TWO)
    here.claim(FIRST)
    until = gevent.spawn_later(3 * LEASE, lambda: None)
    while not until.ready():
        assert here.renew(ONE) and there.renew(TWO)
        gevent.sleep(LEASE / 5)
    assert soon(there, "gateway") == FIRST

    def is_gone() -> bool:
        assert there.renew(TWO)
        return there.find("gateway") is None and there.worker("one") is None

    poll(is_gone, 5 * LEASE, "the lease runs out", every=LEASE / 5)
    assert not here.renew(ONE)


def test_a_worker_taken_for_dead_does_not_keep_a_name_that_moved(open_shared: Opener) -> None:
    here, there = open_shared(), open_shared()
    here.join(ONE)
    there.join(TWO)
    here.claim(FIRST)
    here.claim(Registration("mine still", "one", 1, "owner"))
    there.leave("one")
    assert there.claim(OTHER) is None
    assert not here.renew(ONE)
    assert here.join(ONE, [FIRST, Registration("mine still", "one", 1, "owner")]) == [OTHER]
    assert here.renew(ONE)
    assert soon(there, "mine still") is not None
    assert soon(here, "gateway") == OTHER


def test_a_worker_is_told_to_join_when_a_name_was_taken_from_it(open_shared: Opener) -> None:
    """Or it has been told already that the name is gone."""
    here, there = open_shared(), open_shared()
    taken: list[Registration] = []
    here.on_taken = taken.append
    here.join(ONE)
    there.join(TWO)
    here.claim(FIRST)
    assert here.renew(ONE)
    assert there.claim(OTHER, replaces=FIRST) is None
    poll(lambda: taken or not here.renew(ONE), 5, "the worker is told")
    assert taken in ([], [OTHER])


RACE = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from pathlib import Path
from hubble.directory import Registration, Worker
from hubble.directory.redis import RedisDirectory
from hubble.directory.sqlite import SQLiteDirectory
where, worker, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
directory = RedisDirectory(where) if "://" in where else SQLiteDirectory(Path(where))
directory.join(Worker(worker, "unix:/nowhere"))
print("ready", flush=True)
sys.stdin.readline()
won, kept = [], []
for number in range(rounds):
    mine = Registration(f"name {number}", worker, 1, "")
    holder = directory.claim(mine)
    assert holder is None or holder.worker != worker, holder
    if holder is None:
        won.append(number)
        if number % 2:
            assert directory.claim(Registration(mine.name, worker, 2, ""), replaces=mine) is None
        assert directory.renew(Worker(worker, "unix:/nowhere"))
print(*won, flush=True)
"""


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_of_many_processes_that_want_a_name_one_gets_it(request: pytest.FixtureRequest, kind: str) -> None:
    directory: Directory = request.getfixturevalue(f"open_{kind}")()
    where = request.getfixturevalue("redis_server").url if kind == "redis" else request.getfixturevalue("tmp_path")
    where = where if kind == "redis" else where / "directory.sqlite"
    rounds = 150
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(where), f"racer-{number}", str(rounds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for number in range(4)
    ]  # fmt: skip
    try:
        for racer in racers:
            assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
        outputs = [gevent.spawn(racer.communicate, "go\n", timeout=40) for racer in racers]
        gevent.joinall(outputs, raise_error=True)
        winners = [int(word) for output in outputs for word in output.value[0].split()]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert sorted(winners) == list(range(rounds))
    for number in range(rounds):
        assert soon(directory, f"name {number}").epoch == (2 if number % 2 else 1)  # type: ignore[union-attr]
