"""A proxy that says to agents what a test tells it to."""

from __future__ import annotations

from typing import Any

import gevent
from gevent.event import Event
from gevent.queue import Queue

from hubble.protocol.messages import RESUMABLE, Ack, Handshake, Initiator, Refusal, Terms
from hubble.proxy.http.app import Application
from hubble.transport.link import Link
from hubble.transport.listen import open_listener
from hubble.transport.serve.server import LinkServer
from tests.support.talk import PATIENCE, Talk

LIMIT = 1 << 20


class Call(Talk):
    """One agent's link, as the proxy has it."""

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self.hello: Handshake | None = None

    def accept(self, *, resumable: bool = True) -> Call:
        """Hear who it is, and let it in."""
        self.hello = self.hear(Handshake)
        self.say(Ack(b"", True, features=frozenset({RESUMABLE} if resumable else ())))
        return self

    def refuse(self, text: str, code: Refusal = Refusal.UNAUTHORIZED) -> None:
        self.hello = self.hear(Handshake)
        self.say(Ack(b"", False, text, code))

    def open(self, received: int = 0) -> Initiator:
        """Accept, in the exit's name, the session that the agent asks for."""
        asked = self.hear(Initiator)
        terms = Terms(asked.terms.attempt, received, received + LIMIT) if asked.terms else None
        self.say(Ack(asked.session, True, terms=terms))
        return asked

    def cut(self) -> None:
        """Break the link."""
        self.link.abort("cut by the test")


class FakeProxy:
    """Answers upgrades; everything else is for the test to do."""

    def __init__(self) -> None:
        self._calls: Queue[Call] = Queue()
        self._closed = Event()
        self._server: Any = None
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Listen, at the same port every time."""
        self._server = LinkServer(open_listener("127.0.0.1", self.port), Application(self._serve))
        self._server.start()
        self.port = self._server.server_port

    def shut(self) -> None:
        """Listen no more; links stay."""
        self._server.close()

    def close(self) -> None:
        self._server.stop(timeout=0)
        self._closed.set()
        gevent.idle()

    def call(self) -> Call:
        """The next link that an agent opens."""
        return self._calls.get(timeout=PATIENCE)

    def accept(self, *, resumable: bool = True) -> Call:
        """The next link, its agent let in."""
        return self.call().accept(resumable=resumable)

    @property
    def calls_waiting(self) -> int:
        return self._calls.qsize()

    def _serve(self, link: Link, environ: dict[str, Any]) -> None:
        self._calls.put(Call(link))
        link.wait_closed()
