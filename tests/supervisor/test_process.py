from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hubble.supervisor.channel import Beat, encode
from hubble.supervisor.process import WorkerProcess, how
from tests.support.proxies import Proxies, gone, refused


@pytest.mark.parametrize(
    "status, said",
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-9, "was killed by SIGKILL"),
        (-40, "was killed by signal 40"),
    ],
)
def test_what_a_status_means(status: int, said: str) -> None:
    assert how(status) == said


def test_one_that_never_stops_talking_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two messages the loop turns, however many there are."""
    worker = WorkerProcess.__new__(WorkerProcess)
    monkeypatch.setattr(WorkerProcess, "_packet", lambda self: encode(Beat()))
    receiving = worker.receive(1.0)
    assert receiving.send(None) is None, "the loop has it now"
    with pytest.raises(StopIteration) as received:
        receiving.send(None)
    assert received.value.value == Beat()


def test_a_worker_has_its_channel_and_what_it_shares_and_nothing_else(proxies: Proxies) -> None:
    """A second start, and other workers before it, must not add any."""
    proxy = proxies.start("serve", "--admin", "127.0.0.1:0", workers=2)
    (first,) = proxy.noops(1)
    os.kill(first, 9)
    proxy.log.wait_for("is serving")
    for pid in (*proxy.noops(0), proxy.noops(1)[-1]):
        opened = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir() if int(file.name) > 2]
        kinds = sorted(name.partition(":")[0].partition(" ")[0] for name in opened)
        assert kinds == ["/memfd", "socket", "socket", "socket"], opened


def test_a_worker_is_deaf_to_what_a_terminal_sends_from_its_first_moment_on(proxies: Proxies) -> None:
    proxy = proxies.make("unready", workers=1)
    proxy.begin("started")
    (pid,) = proxy.noops(0)
    status = Path(f"/proc/{pid}/status").read_text()
    (ignored,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
    assert ignored & 0b11 == 0b11  # SIGHUP, SIGINT


def test_a_program_that_cannot_be_started_is_one_line(proxies: Proxies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOOP_COMMAND", "/nowhere/python")
    assert refused(proxies.make()) == (1, "worker 0 cannot be started: No such file or directory")
    assert not proxies.runtime.exists()


def test_a_program_that_cannot_be_started_any_more_is_tried_again(
    proxies: Proxies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as while the files of the package are replaced."""
    program = proxies.directory / "python"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o700)
    monkeypatch.setenv("NOOP_COMMAND", str(program))
    proxy = proxies.start(workers=1)
    away = program.rename(f"{program}.away")
    os.kill(proxy.noops(0)[0], 9)
    proxy.log.wait_for("worker 0 cannot be started: No such file or directory; restarting it in", times=2)
    away.rename(program)
    proxy.log.wait_for("is serving")
    assert proxy.stop() == 0
    gone(*proxy.noops(0))
