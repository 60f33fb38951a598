"""The states of the path between a session's two ends, and what a session tells the shell around it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hubble.protocol.messages import ResetReason


class Path(Enum):
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


PATHS: dict[tuple[Path, Move], Path] = {
    (Path.WAITING, Move.CONNECT): Path.CONNECTING,
    (Path.WAITING, Move.ACCEPT): Path.OPEN,
    (Path.WAITING, Move.LOSE): Path.WAITING,
    (Path.WAITING, Move.END): Path.ENDED,
    (Path.CONNECTING, Move.CONNECT): Path.CONNECTING,
    (Path.CONNECTING, Move.ACCEPT): Path.OPEN,
    (Path.CONNECTING, Move.LOSE): Path.WAITING,
    (Path.CONNECTING, Move.END): Path.ENDED,
    (Path.OPEN, Move.ACCEPT): Path.OPEN,
    (Path.OPEN, Move.LOSE): Path.WAITING,
    (Path.OPEN, Move.END): Path.ENDED,
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
    """The session is over: well (`reason` is None), or by a reset which the application must see as one."""

    reason: ResetReason | None = None
    text: str = ""


Event = Opened | Suspended | Resumed | Ended
