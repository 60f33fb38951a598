"""Idle agents: `python -m benchmarks.idlers ADDRESS COUNT` prints "ready" whenever all are registered.

Each keeps a link as an agent does, with pings and with pauses between attempts, but has no rules and no sessions. The
line after "ready" has the largest number of registrations within one second.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import random  # noqa: E402
import resource  # noqa: E402
import secrets  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402

import gevent  # noqa: E402
from websockets.protocol import Side  # noqa: E402

from benchmarks.load import READY  # noqa: E402
from hubble.agent.options import AgentOptions  # noqa: E402
from hubble.base.backoff import Backoff  # noqa: E402
from hubble.base.errors import HubbleError  # noqa: E402
from hubble.protocol.codec import decode, encode  # noqa: E402
from hubble.protocol.messages import RESUMABLE, GoAway, Handshake  # noqa: E402
from hubble.transport.dial.dial import Target, open_websocket, parse_url  # noqa: E402
from hubble.transport.link import Link  # noqa: E402

OPTIONS = AgentOptions()


class Crowd:
    """`count` idle agents of the proxy at `target`."""

    def __init__(self, target: Target, count: int) -> None:
        self._target = target
        self._count = count
        self._there = 0
        self._seconds: Counter[int] = Counter()
        for number in range(count):
            gevent.spawn_later(number / 500, self._keep_linked, number)  # the first time, one after the other

    def _keep_linked(self, number: int) -> None:
        backoff = Backoff(OPTIONS.retry_first, OPTIONS.retry_most, random.random)
        instance = secrets.token_bytes(16)
        while True:
            try:
                self._serve(number, instance, backoff)
            except HubbleError:
                gevent.sleep(backoff.next_delay())  # else it was told to move: at once

    def _serve(self, number: int, instance: bytes, backoff: Backoff) -> None:
        upgraded = open_websocket(self._target, OPTIONS.dial)
        link = Link(upgraded.socket, Side.CLIENT, leftover=upgraded.leftover, keepalive=OPTIONS.keepalive)
        epoch = time.time_ns() // 1_000_000
        link.send(encode(Handshake(f"idler-{number}", features=frozenset({RESUMABLE}), instance=instance, epoch=epoch)))
        messages = link.messages()
        try:
            next(messages)
            backoff.succeeded()
            self._registered(1)
            try:
                for data in messages:
                    if isinstance(decode(data), GoAway):
                        return
            finally:
                self._registered(-1)
        finally:
            link.abort("it has ended")

    def _registered(self, change: int) -> None:
        self._there += change
        if change > 0:
            self._seconds[int(time.monotonic())] += 1
            if self._there == self._count:
                print(READY, flush=True)
                print(json.dumps({"most_in_a_second": max(self._seconds.values())}), flush=True)
                self._seconds.clear()


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    Crowd(parse_url(f"ws://{sys.argv[1]}"), int(sys.argv[2]))
    gevent.get_hub().threadpool.spawn(sys.stdin.read).get()


if __name__ == "__main__":
    main()
