"""The identity that an agent registers with, checked before it dials."""

from __future__ import annotations

import secrets
import time

from hubble.base.errors import UsageError
from hubble.base.names import key_problem, name_problem, shown
from hubble.protocol.messages import RESUMABLE, Handshake


class Identity:
    """The name and key of an agent, and the secret that proves its return after a lost link.

    Raises UsageError if no proxy can accept the name or the key.
    """

    def __init__(self, name: str, key: str) -> None:
        check_identity(name, key)
        self.name = name
        self._key = key
        self._instance = secrets.token_bytes(16)
        self._epoch = 0

    def handshake(self) -> Handshake:
        """Return the Handshake for the next link. Its epoch is higher than the last one, even across restarts."""
        self._epoch = max(self._epoch + 1, int(time.time() * 1000))
        features = frozenset({RESUMABLE})
        return Handshake(self.name, self._key, features=features, instance=self._instance, epoch=self._epoch)


def check_identity(name: str, key: str) -> None:
    """Raise UsageError if no proxy can accept `name` or `key`."""
    problem = name_problem(name)
    if problem is not None:
        raise UsageError(f"the gateway name {shown(name)} {problem}; choose another with -name")
    problem = key_problem(key)
    if problem is not None:
        raise UsageError(f"the key {problem}; write it on one line, in UTF-8")
