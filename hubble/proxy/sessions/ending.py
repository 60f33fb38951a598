"""Ending sessions on both sides, and what the sides are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hubble.protocol.codec import encode
from hubble.protocol.messages import Message, Reset, ResetReason, Suspend, Terminator
from hubble.proxy.sessions.routes import Route, Routes

if TYPE_CHECKING:
    from hubble.proxy.sessions.registry import Sessions


def lost_message(route: Route, *, of_exit: bool) -> Message:
    """What one end of a route is told when the other, the exit or the entry, has become unreachable."""
    if route.resumable:
        return Suspend(route.session, of_exit)
    return Terminator(route.session)


def reset_message(route: Route, *, of_exit: bool, reason: ResetReason, text: str) -> Message:
    """What one end of a route is told, in the name of the other, when the proxy ends the session."""
    if route.resumable:
        return Reset(route.session, of_exit, reason, text)
    return Terminator(route.session)


def end(routes: Routes, sessions: Sessions, route: Route, reason: ResetReason, text: str) -> None:
    """End a session on both sides by a reset."""
    routes.remove(route)
    sessions.reset(route, reason, text)
    for of_exit in (False, True):
        link = route.halves[of_exit].receiver.link
        link.discard(route.session)
        link.send(encode(reset_message(route, of_exit=of_exit, reason=reason, text=text)), route.session)
