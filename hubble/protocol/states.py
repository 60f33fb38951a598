"""The states of the path between a session's two ends, and what a session tells the shell around it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hubble.protocol.messages import ResetReason


class PathState(Enum):
    """The state of the way between a session's two ends."""

    WAITING = "waiting"
    """There is none: not yet, or not any more."""
    CONNECTING = "connecting"
    """The entry has sent an Initiator and awaits its Ack; for the exit: the destination is being dialled."""
    OPEN = "open"
    ENDED = "ended"
    """The session is over. Nothing leaves this state."""


class Move(Enum):
    """What can happen to a path."""

    CONNECT = "connect"
    ACCEPT = "accept"
    LOSE = "lose"
    END = "end"


PATHS: dict[tuple[PathState, Move], PathState] = {
    (PathState.WAITING, Move.CONNECT): PathState.CONNECTING,
    (PathState.WAITING, Move.ACCEPT): PathState.OPEN,
    (PathState.WAITING, Move.LOSE): PathState.WAITING,
    (PathState.WAITING, Move.END): PathState.ENDED,
    (PathState.CONNECTING, Move.CONNECT): PathState.CONNECTING,
    (PathState.CONNECTING, Move.ACCEPT): PathState.OPEN,
    (PathState.CONNECTING, Move.LOSE): PathState.WAITING,
    (PathState.CONNECTING, Move.END): PathState.ENDED,
    (PathState.OPEN, Move.ACCEPT): PathState.OPEN,
    (PathState.OPEN, Move.LOSE): PathState.WAITING,
    (PathState.OPEN, Move.END): PathState.ENDED,
}
"""What follows; whatever is not named changes nothing."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Both ends agree for the first time: bytes may flow."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """The path is lost; the session waits for another."""

    why: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The session goes on where it was, after waiting `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over: well (`reason` is None), or by a reset which the application must see as one.

    cut: it ended well, but what the other side might have sent is lost: an application that still reads must see a
    reset. Protocol 0.1 ends both streams at once.
    """

    reason: ResetReason | None = None
    text: str = ""
    cut: bool = False


SessionEvent = Opened | Suspended | Resumed | Ended
