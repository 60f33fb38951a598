"""A state machine that keeps an agent's link to a proxy. `TRANSITIONS` lists the valid changes of state.

    DIALING -> LINKED -> MOVING -> LINKED ...        a link is lost or refused: PAUSING -> DIALING
                                                     stop: STOPPED

However a proxy behaves, attempts to register are paced: one backoff follows failures, and another follows links that
did not last.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from enum import Enum

import gevent
from gevent.event import Event

from hubble.agent.handshake import Registered
from hubble.agent.options import AgentOptions
from hubble.base.backoff import Backoff
from hubble.base.errors import (
    HubbleError,
    LinkClosed,
    ProtocolError,
    ProxyBusy,
    RegistrationInvalid,
    RegistrationRefused,
)
from hubble.transport.dial.dial import Target
from hubble.transport.link import Link

log = logging.getLogger(__name__)

STEADY = 1.0
"""Seconds after which a link counts as stable: once it is lost or the proxy goes away, the pauses are reset."""


class State(Enum):
    """The activity of the keeper."""

    DIALING = "dialing"
    """It tries each proxy in turn."""
    LINKED = "linked"
    """It serves a link."""
    MOVING = "moving"
    """It serves a link that the proxy will close, and registers elsewhere."""
    PAUSING = "pausing"
    """It waits before the next attempt."""
    STOPPED = "stopped"
    """This state is final."""


class Change(Enum):
    """An event that changes the state."""

    REGISTERED = "registered"
    FAILED = "failed"
    """No proxy accepted the agent."""
    GAVE_UP = "gave up"
    GO_AWAY = "go away"
    """The proxy will close the link."""
    MOVED = "moved"
    """The link has ended, and its successor is registered."""
    LOST = "lost"
    """The link has ended without a successor."""
    DUE = "due"
    """The pause is over."""
    STOP = "stop"


TRANSITIONS: dict[tuple[State, Change], State] = {
    (State.DIALING, Change.REGISTERED): State.LINKED,
    (State.DIALING, Change.FAILED): State.PAUSING,
    (State.DIALING, Change.GAVE_UP): State.STOPPED,
    (State.LINKED, Change.GO_AWAY): State.MOVING,
    (State.LINKED, Change.LOST): State.PAUSING,
    (State.MOVING, Change.MOVED): State.LINKED,
    (State.MOVING, Change.LOST): State.PAUSING,
    (State.PAUSING, Change.DUE): State.DIALING,
    **{(state, Change.STOP): State.STOPPED for state in State},
}
"""The state that follows each state and change. Any other pair is ignored."""


BUSY_ATTEMPTS = 5
"""Consecutive answers "busy" after which `exit_on_failure` treats the registration as failed."""


class Keeper:
    """Registers as `name` with one of `targets`, and again whenever the link is lost, until `stop`.

    register: see `handshake.register`. serve: handles the messages of a registered link until it ends; raises
    LinkClosed or ProtocolError. is_urgent: returns whether sessions wait for a link, so that pauses are short.
    """

    def __init__(
        self,
        name: str,
        targets: Sequence[Target],
        options: AgentOptions,
        register: Callable[[Target], Registered],
        serve: Callable[[Registered], None],
        is_urgent: Callable[[], bool],
    ) -> None:
        self.state = State.DIALING
        self.targets = targets
        self._name = name
        self.gave_up: HubbleError | None = None
        """The error because of which the keeper stopped by itself, or None."""
        self._options = options
        self._register = register
        self._serve = serve
        self._is_urgent = is_urgent
        self._stopping = Event()
        self._failures = Backoff(options.retry_first, options.retry_most, random.random)
        self._short_links = Backoff(options.retry_first, options.retry_most, random.random)
        self._delay = 0.0
        self._current: Registered | None = None
        self._since = 0.0
        self._ever_registered = False
        self._busy_answers = 0
        self._mover: gevent.Greenlet | None = None

    def run(self) -> None:
        """Keep a link until `stop`, or until the first registration fails and `gave_up` is set."""
        actions = {
            State.DIALING: self._dial,
            State.LINKED: self._serve_link,
            State.MOVING: self._serve_link,  # only after an unexpected error while serving
            State.PAUSING: self._pause,
        }
        try:
            while self.state is not State.STOPPED:
                actions[self.state]()
        finally:
            if self.state is State.STOPPED and self._current is not None:  # registered, but not served
                self._current.link.close(1000, "the agent was stopped")

    def go_away(self, seconds: int) -> None:
        """Move to another link: the proxy will close this one within `seconds`. Handled once for each link."""
        if self._change(Change.GO_AWAY) and self._current is not None:
            log.info("the proxy will close the link within %d s; registering with another", seconds)
            self._mover = gevent.spawn(self._move, self._current.link)

    def stop(self) -> None:
        """Stop. `run` returns soon; its greenlet may also be killed."""
        self._change(Change.STOP)
        self._stopping.set()
        if self._mover is not None:
            self._mover.kill(block=False)

    def _change(self, change: Change) -> bool:
        """Enter the state that follows. Return False if there is none."""
        following = TRANSITIONS.get((self.state, change))
        if following is None:
            return False
        self.state = following
        return True

    # The states.

    def _dial(self) -> None:
        error = self._try_all()
        if error is None:
            self._failures.succeeded()
            self._busy_answers = 0
            self._ever_registered = True
            self._change(Change.REGISTERED)
            return
        self._busy_answers = self._busy_answers + 1 if isinstance(error, ProxyBusy) else 0
        has_failed = not 0 < self._busy_answers < BUSY_ATTEMPTS
        is_final = isinstance(error, RegistrationInvalid) or (self._options.exit_on_failure and has_failed)
        if is_final and not self._ever_registered:
            self.gave_up = error
            self._change(Change.GAVE_UP)
            return
        self._delay = self._failures.next_delay()
        if self._busy_answers:
            self._delay = min(self._delay, self._options.retry_most_busy * random.uniform(0.5, 1.0))
        self._change(Change.FAILED)

    def _try_all(self) -> HubbleError | None:
        """Register with the first proxy that accepts. Return None, or the last error if none accepts."""
        error: HubbleError | None = None
        for target in random.sample(self.targets, len(self.targets)):
            try:
                self._current = self._register(target)
            except ProxyBusy as busy:
                log.warning("%s has not registered %s yet: %s", target, self._name, busy)
                error = busy
            except RegistrationRefused as refused:
                log.error("%s refused the registration as %s: %s", target, self._name, refused)
                error = refused
            except HubbleError as failed:
                log.warning("%s", failed)
                error = failed
            else:
                return None
        return error

    def _serve_link(self) -> None:
        registered, self._since = self._current, time.monotonic()
        successor: Registered | None = None
        try:
            if registered is not None:
                log.info("registered as %s at %s", self._name, registered.target)
                self._serve(registered)
        except LinkClosed as error:
            successor = self._successor()
            if successor is None and self.state is not State.STOPPED:
                log.warning("the link to the proxy was lost: %s", error)
        except ProtocolError as error:
            log.warning("the link to the proxy was closed: %s", error)
        finally:
            self._current = successor
            self._link_is_over()

    def _link_is_over(self) -> None:
        if self._mover is not None:
            self._mover.kill(block=False)
            self._mover = None
        if self._current is not None:
            self._change(Change.MOVED)
            return
        self._delay = self._pace() or self._short_links.next_delay()
        self._change(Change.LOST)

    def _successor(self) -> Registered | None:
        """Return the link to which the agent moves, or None. The proxy may have closed the old link because of it."""
        if self._mover is None:
            return None
        self._mover.join(self._options.hello_timeout)
        value = self._mover.value
        return value if isinstance(value, Registered) else None

    def _pace(self) -> float:
        """Return the seconds to wait before the next link: 0.0 if the current one was stable."""
        if time.monotonic() - self._since < STEADY:
            return self._short_links.next_delay()
        self._short_links.succeeded()
        return 0.0

    def _pause(self) -> None:
        delay = min(self._delay, self._options.retry_most_waiting) if self._is_urgent() else self._delay
        log.debug("next attempt in %.1f s", delay)
        self._stopping.wait(delay)
        self._change(Change.STOP if self._stopping.is_set() else Change.DUE)

    # Moving.

    def _move(self, old: Link) -> Registered | None:
        """Register with another proxy or this one's successor, then close the old link. Return the new one, or None."""
        old.wait_closed(self._pace())
        while not old.closed and not self._stopping.is_set():
            for target in random.sample(self.targets, len(self.targets)):
                try:
                    registered = self._register(target)
                except HubbleError as error:
                    log.debug("cannot move yet: %s", error)
                else:
                    old.close(1000, "moved to another link")
                    return registered
            old.wait_closed(min(self._failures.next_delay(), self._options.retry_most_waiting))
        return None
