"""Ends sessions on both sides, and builds the messages that notify the sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hubble.protocol.codec import encode
from hubble.protocol.direction import TO_ENTRY, Direction
from hubble.protocol.messages import Message, Reset, ResetReason, Suspend, Terminator
from hubble.proxy.sessions.routes import Route, Routes

if TYPE_CHECKING:
    from hubble.proxy.sessions.registry import SessionRegistry


def lost_message(route: Route, direction: Direction) -> Message:
    """Return the message for the receiver in `direction` when the sender has become unreachable."""
    if route.resumable:
        return Suspend(route.session, direction is TO_ENTRY)
    return Terminator(route.session)


def reset_message(route: Route, direction: Direction, reason: ResetReason, text: str) -> Message:
    """Return the message for the receiver in `direction`, on the sender's behalf, when the proxy ends the session."""
    if route.resumable:
        return Reset(route.session, direction is TO_ENTRY, reason, text)
    return Terminator(route.session)


def end(routes: Routes, sessions: SessionRegistry, route: Route, reason: ResetReason, text: str) -> None:
    """Reset a session on both sides."""
    routes.remove(route)
    sessions.reset(route, reason, text)
    for direction in Direction:
        link = route.halves[direction].receiver.link
        link.discard(route.session)
        link.send(encode(reset_message(route, direction, reason, text)), route.session)
