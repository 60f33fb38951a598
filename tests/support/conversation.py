"""A session on which somebody talks without a pause, so that its longest pause can be told."""

from __future__ import annotations

import hashlib
import time

import gevent

from tests.support.sockets import connect, echoed
from tests.support.waiting import poll


class Conversation:
    """A session on which questions and answers follow each other without a pause, each compared."""

    def __init__(self, port: int) -> None:
        self.longest_pause = 0.0
        self.answers = 0
        self._going = True
        self._sock = connect(port, patience=60)
        assert echoed(self._sock, b"hello") == b"hello"
        self._greenlet = gevent.spawn(self._talk)

    def _talk(self) -> None:
        while self._going:
            question = hashlib.sha256(str(self.answers).encode()).digest() * 100
            started = time.monotonic()
            assert echoed(self._sock, question) == question
            self.longest_pause = max(self.longest_pause, time.monotonic() - started)
            self.answers += 1
            gevent.sleep(0.002)

    def goes_on(self) -> None:
        """Returns when ten more answers have come, all that were under way among them."""
        answers = self.answers
        poll(lambda: self._greenlet.ready() or self.answers >= answers + 10, 30, "the conversation goes on")
        if self._greenlet.ready():
            self._greenlet.get()

    def end(self) -> None:
        self._going = False
        self._greenlet.get(timeout=20)
        self._sock.close()
