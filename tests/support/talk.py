"""One end of a link, message by message."""

from __future__ import annotations

from typing import TypeVar

import gevent

from hubble.base.errors import LinkClosed
from hubble.protocol.codec import decode, encode
from hubble.protocol.messages import Message
from hubble.transport.link import Link
from tests.support.waiting import Changes

PATIENCE = 20.0  # seconds that a test waits for what must happen, on a busy machine

M = TypeVar("M", bound=Message)


class Talk:
    """Says single messages over `link`, and keeps in order what it hears. While frozen it does not even read."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.raw: list[bytes] = []
        """All that was ever heard, as it came."""
        self._heard: list[Message] = []
        self._changes = Changes()
        self._reader = gevent.spawn(self._read)

    def say(self, message: Message | bytes) -> None:
        """A message, or bytes instead of one. All that is said stays in order."""
        self.link.send(message if isinstance(message, bytes) else encode(message), "everything in order")

    def hear(self, kind: type[M]) -> M:
        """The next message, which must be of this kind."""
        message = self.hear_any()
        assert isinstance(message, kind), f"{kind.__name__} was expected, but this came: {message}"
        return message

    def hear_any(self) -> Message:
        """The next message."""
        self._changes.wait_until(lambda: self._heard or self._reader.ready(), PATIENCE, "a message comes")
        assert self._heard, f"the link ended instead: {self.link.why}"
        return self._heard.pop(0)

    def freeze(self) -> None:
        """Read nothing more: answer no ping either."""
        self._reader.kill()

    def thaw(self) -> None:
        self._reader = gevent.spawn(self._read)

    def wait_end(self) -> str:
        """Why the link has ended, once it has."""
        self._reader.join(PATIENCE)
        assert self._reader.ready(), "the link goes on"
        return self.link.why

    def _read(self) -> None:
        try:
            for data in self.link.messages():
                self.raw.append(data)
                self._heard.append(decode(data))
                self._changes.happened()
        except LinkClosed:
            pass
        finally:
            self._changes.happened()
