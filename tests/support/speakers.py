"""Agents that say and hear single messages, over in-memory links to a proxy in this process."""

from __future__ import annotations

import uuid
from typing import Any

import gevent
from gevent import socket
from websockets.protocol import CLIENT, SERVER

from hubble.protocol.messages import RESUMABLE, Ack, Handshake, Initiator, Message, Terms
from hubble.proxy.proxy import Proxy
from hubble.transport.link import Link
from tests.support.talk import PATIENCE, Talk

SECRET = bytes(range(16))
LIMIT = 1 << 23
"""The credit in the terms of tests."""


class Speaker(Talk):
    """An agent's end of a link to `proxy`, not registered yet."""

    def __init__(self, proxy: Proxy, address: str = "192.0.2.1") -> None:
        mine, theirs = socket.socketpair()
        super().__init__(Link(mine, CLIENT))
        self._server = gevent.spawn(proxy.serve_link, Link(theirs, SERVER), {"REMOTE_ADDR": address})

    def nothing_more(self) -> list[Message]:
        """What the proxy has to say about all that was said before: [] is what is hoped for.

        A question that it answers at once is put behind everything, so that nobody has to wait for silence.
        """
        question = Initiator(uuid.uuid4().bytes, "host", 1, "a gateway that nobody has")
        self.say(question)

        def answered() -> bool:
            return any(isinstance(each, Ack) and each.session == question.session for each in self._heard)

        self._changes.wait_until(lambda: answered() or self._reader.ready(), PATIENCE, "a question is answered")
        assert answered(), f"the link ended: {self.link.why}"
        rest = [each for each in self._heard if getattr(each, "session", None) != question.session]
        self._heard.clear()
        return rest

    def vanish(self) -> None:
        """The link breaks; returns when the proxy has dealt with that."""
        self.link.abort("vanished")
        self._server.join(PATIENCE)
        assert self._server.ready()

    def wait_end(self) -> str:
        """Why the link has ended, when both sides are through with it."""
        self._server.join(PATIENCE)
        assert self._server.ready(), "the proxy still serves the link"
        return super().wait_end()


def agent(
    proxy: Proxy, name: str, *, instance: bytes | None = None, epoch: int = 1, key: str = "", address: str = "192.0.2.1"
) -> Speaker:
    """A registered agent of ours; each is another instance unless told otherwise."""
    speaker, ack = introduced(proxy, our_hello(name, instance=instance, epoch=epoch, key=key), address)
    assert ack.ok, ack
    assert ack.features == {RESUMABLE}
    return speaker


def legacy_agent(proxy: Proxy, name: str, address: str = "192.0.2.1") -> Speaker:
    """A registered agent of protocol 0.1."""
    speaker, ack = introduced(proxy, Handshake(name), address)
    assert ack == Ack(b"", True)
    return speaker


def introduced(proxy: Proxy, hello: Handshake, address: str = "192.0.2.1") -> tuple[Speaker, Ack]:
    """A link on which an agent has said who it is, and the answer."""
    speaker = Speaker(proxy, address)
    speaker.say(hello)
    return speaker, speaker.hear(Ack)


def our_hello(name: str, *, instance: bytes | None = None, epoch: int = 1, key: str = "") -> Handshake:
    instance = uuid.uuid4().bytes if instance is None else instance
    return Handshake(name, key, features=frozenset({RESUMABLE}), instance=instance, epoch=epoch)


def new_session() -> bytes:
    return uuid.uuid4().bytes


def initiator(session: bytes, gateway: str = "exit", *, attempt: int = 1, **changes: Any) -> Initiator:
    """What an entry of ours says; `resume`, `received` and `secret` go into the terms."""
    terms = Terms(
        attempt,
        changes.pop("received", 0),
        changes.pop("limit", LIMIT),
        changes.pop("secret", SECRET),
        changes.pop("resume", attempt > 1),
    )
    return Initiator(session, changes.pop("host", "host"), 22, gateway, terms=terms, **changes)


def accept(exit_agent: Speaker, session: bytes) -> Initiator:
    """The exit accepts the Initiator that comes for `session`, which is returned."""
    asked = exit_agent.hear(Initiator)
    assert asked.session == session
    terms = Terms(asked.terms.attempt, 0, LIMIT) if asked.terms else None
    exit_agent.say(Ack(session, True, terms=terms, path=asked.path))
    return asked


def opened(entry: Speaker, exit_agent: Speaker, gateway: str = "exit", **changes: Any) -> bytes:
    """A session of ours between two agents."""
    session: bytes = changes.pop("session", None) or new_session()
    entry.say(initiator(session, gateway, **changes))
    accept(exit_agent, session)
    ack = entry.hear(Ack)
    assert ack.ok and ack.session == session and ack.terms is not None, ack
    return session


def opened_legacy(entry: Speaker, exit_agent: Speaker, gateway: str = "exit") -> bytes:
    """A session of protocol 0.1 between two agents."""
    session = new_session()
    entry.say(Initiator(session, "host", 22, gateway))
    asked = accept(exit_agent, session)
    assert asked == Initiator(session, "host", 22, gateway)
    assert entry.hear(Ack) == Ack(session, True)
    return session
