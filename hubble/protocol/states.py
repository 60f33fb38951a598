"""The states of the path between a session's two ends, and the events that a session reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hubble.protocol.messages import ResetReason


class PathState(Enum):
    """The state of the path between a session's two ends."""

    WAITING = "waiting"
    """There is no path: none yet, or the last one is lost."""
    CONNECTING = "connecting"
    """At the entry: an Initiator is sent and its Ack awaited. At the exit: the destination is being dialed."""
    OPEN = "open"
    ENDED = "ended"
    """The session is over. This state is final."""


class Move(Enum):
    """An event that changes a path's state."""

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
"""The state that follows each state and move. Any other pair is invalid."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Both ends have agreed on a path for the first time: bytes may flow."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """The path is lost. The session waits for another path."""

    why: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """The session has resumed after `seconds` without a path."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over: normally (`reason` is None), or by a reset that the application must see as one.

    cut: the session ended normally, but the other side's stream may be truncated, because protocol 0.1 ends both
    streams at once. An application that still reads must see a reset.
    """

    reason: ResetReason | None = None
    text: str = ""
    cut: bool = False


SessionEvent = Opened | Suspended | Resumed | Ended
