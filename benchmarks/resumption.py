"""Resumption: the pause of a session when a link is cut, or a worker or the whole proxy is killed or replaced.

A byte goes back and forth without a pause; the longest time that one took is the session's pause. The link is cut by a
TCP relay between the entry agent and the proxy. The proxy has two workers: all of them are killed at once, and their
supervisor starts others. The proxy is killed with SIGKILL and started again at once at the same address; how long it
took until it listened is shown beside the pause, as the session cannot go on before. Then another takes it over.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from benchmarks.figures import Demand, Figure
from benchmarks.lab import Lab, result
from benchmarks.processes import Process
from benchmarks.tunnel import Tunnel

LIMIT = 240
SESSION, START, ALLOWED = "session's pause", "proxy's start", "allowed"
OPTIONS = ("--workers", "2")
LEAST = 4.0  # seconds that each measurement lasts


def run(lab: Lab) -> list[Figure]:
    service = lab.service()
    tunnel = Tunnel(lab)
    listen = tunnel.start_proxy("127.0.0.1:0", *OPTIONS)
    host, port = listen.rsplit(":", 1)
    relay = lab.start_module("relay", host, port)
    tunnel.start_agent("exit", listen)
    (entry,) = tunnel.start_agent("entry", f"127.0.0.1:{relay.read_line()}", f"0:exit:127.0.0.1:{service}")

    cut = Figure("a link cut", "ms", (SESSION, SESSION))
    killed = Figure("proxy killed and started", "ms", (SESSION, START))
    workers = Figure("workers killed", "ms", (SESSION, SESSION))
    replaced = Figure("proxy taken over by another", "ms", (SESSION, ALLOWED), Demand("ratio", "<=", 1))
    replaced.add(ALLOWED, 3000)
    for _ in range(lab.rounds):
        cut.add(SESSION, _pause(lab, entry, lambda: _cut(relay)))
        killed.add(SESSION, _pause(lab, entry, lambda: killed.add(START, _restart(tunnel, listen))))
        workers.add(SESSION, _pause(lab, entry, lambda: _kill_workers(tunnel)))
        replaced.add(SESSION, _pause(lab, entry, lambda: tunnel.take_over(listen, *OPTIONS)))
    return [cut, workers, killed, replaced]


def _pause(lab: Lab, port: int, disturb: Callable[[], None]) -> float:
    """Return the longest pause of a disturbed session, in milliseconds."""
    with lab.apart() as talking:
        session = talking.begin("pingpong", ("127.0.0.1", port), seconds=max(LEAST, lab.seconds), announce=True)
        session.read_line()
        disturb()
        return result(session)["longest"] * 1e3


def _cut(relay: Process) -> None:
    relay.popen.send_signal(signal.SIGUSR1)


def _kill_workers(tunnel: Tunnel) -> None:
    for worker in tunnel.processes["proxy"].children():
        os.kill(worker, signal.SIGKILL)


def _restart(tunnel: Tunnel, listen: str) -> float:
    """Kill and restart the proxy. Return the time until it listens, in milliseconds."""
    tunnel.kill_proxy()
    started = time.monotonic()
    tunnel.start_proxy(listen, *OPTIONS)
    return (time.monotonic() - started) * 1e3
