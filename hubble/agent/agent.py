"""The agent: keeps a link to the proxy and passes its messages to the agent's two parts, entry and exit."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

import gevent

from hubble.agent.connection import Connection
from hubble.agent.dispatch import Dispatcher
from hubble.agent.entry import Entry
from hubble.agent.exit import Exit, Forbids, forbids_nothing
from hubble.agent.handshake import Registered, register
from hubble.agent.identity import Identity
from hubble.agent.keeper import Keeper
from hubble.agent.links import Links
from hubble.agent.metrics import AgentMetrics
from hubble.agent.options import AgentOptions
from hubble.agent.rules import Rule, parse_rules
from hubble.agent.selfcheck import SelfCheck
from hubble.agent.sessions import Sessions
from hubble.base.errors import HubbleError, LinkClosed, ProtocolError, UsageError
from hubble.base.keepalive import keep_running
from hubble.base.reserve import DescriptorReserve
from hubble.protocol.messages import ResetReason
from hubble.protocol.states import PathState
from hubble.transport.addresses import Socket
from hubble.transport.dial.dial import Target, check_usage, parse_url

log = logging.getLogger(__name__)

FAREWELL = 1.2
"""Seconds to wait for the link to close: a little longer than the link's own timeout."""
KILL_TIMEOUT = 0.5
RESERVE = 8
"""Descriptors held in reserve for dialling the proxy: its name is looked up, and its certificates are read."""
TICK = 0.25
"""Seconds between checks of the sessions' deadlines."""


class Agent:
    """Registers with a proxy as the gateway `name`, forwards by its rules, and serves as an exit.

    `url` may be a list of proxies that share a directory: the agent registers with one of them, and with another when
    that link is lost. `rules` are texts or Rules. `forbids` may forbid destinations. Raises UsageError for invalid
    arguments. Call `run`, or `start` and later `stop`.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        name: str,
        rules: Iterable[str | Rule] = (),
        *,
        key: str = "",
        options: AgentOptions | None = None,
        forbids: Forbids = forbids_nothing,
    ) -> None:
        self._identity = Identity(name, key)
        self.name = name
        self.options = options or AgentOptions()
        targets = [parse_url(one) for one in ([url] if isinstance(url, str) else url)]
        if not targets:
            raise UsageError("the proxy's URL is missing")
        for target in targets:
            check_usage(target, self.options.dial)
        self.listening: list[tuple[Rule, str, int]] = []
        """The return value of `start`."""
        self._links = Links()
        self._sessions = Sessions(self.options)
        self._entry = Entry(parse_rules(rules), self.options, self._links, self._sessions)
        self._exit = Exit(self.options, self._links, forbids, self._sessions)
        self._keeper = Keeper(name, targets, self.options, self._register, self._serve, self._is_any_waiting)
        self._self_check = SelfCheck(name, self._links, self.options.self_check)
        self._dispatcher = Dispatcher(self._entry, self._exit, self._self_check, self._keeper.go_away)
        self._reserve = DescriptorReserve(RESERVE)
        self._stopping = False
        self._greenlets: list[gevent.Greenlet] = []
        self._metrics: AgentMetrics | None = None

    def run(self) -> None:
        """Start, and serve until `stop`. Raises the errors of `start` and `wait`."""
        self.start()
        self.wait()

    def start(self) -> list[tuple[Rule, str, int]]:
        """Listen and begin to dial. Return each rule with its address and port. Raises ListenError."""
        self.listening = self._entry.listen()
        for rule, address, port in self.listening:
            log.info("rule %s listens on %s port %d", rule, address, port)
        self._greenlets = [
            keep_running("the link to the proxy", self._keeper.run),
            keep_running("watching deadlines", self._watch_deadlines),
            keep_running("checking the registration", self._self_check.run),
        ]
        return self.listening

    def serve_metrics(self, listener: Socket) -> None:
        """Serve /metrics on `listener` (docs/metrics.md) until `stop`."""
        self._metrics = AgentMetrics(listener, self._links.meters, self._connections, lambda: self._links.link)

    def wait(self) -> None:
        """Wait until the agent has stopped.

        Raises RegistrationInvalid if the first registration failed at every proxy, at the last one as invalid. With
        `exit_on_failure`, raises any error that made the first registration fail.
        """
        self._greenlets[0].get()
        if self._keeper.gave_up is not None:
            raise self._keeper.gave_up

    def stop(self) -> None:
        """Reset all sessions, close the link and stop: within about a second, whatever the proxy does."""
        if self._stopping:
            return
        self._stopping = True
        self._keeper.stop()
        self._entry.close()
        self._exit.close()
        for connection in self._connections():
            connection.fail(ResetReason.AGENT_STOPPED, "the agent was stopped")
        link = self._links.link
        if link is not None:
            link.close(1000, "the agent was stopped")
            link.wait_closed(FAREWELL)
            link.abort("the agent was stopped")
        gevent.killall(self._greenlets, timeout=KILL_TIMEOUT)
        self._reserve.close()
        if self._metrics is not None:
            self._metrics.stop()

    # The link.

    def _register(self, target: Target) -> Registered:
        try:
            return register(target, self._identity, self.options)
        except (HubbleError, OSError):
            if not self._reserve.release():
                raise
        try:
            return register(target, self._identity, self.options)  # with the descriptors of the reserve
        finally:
            self._reserve.fill()  # before new connections take what is free again

    def _serve(self, registered: Registered) -> None:
        link = registered.link
        link.on_drained = self._dispatcher.lane_drained
        self._links.set(link, registered.resumable)
        self._reserve.fill()
        try:
            self._entry.resume_all(link)
            self._dispatcher.serve(registered)
        except ProtocolError as error:
            link.close(1002, str(error))
            raise
        except LinkClosed:
            raise
        except BaseException:  # the link has no reader any more
            link.abort("serving it failed")
            raise
        finally:
            self._links.clear()
            self._entry.link_lost()
            self._lose_paths(link.why or "the link was lost")

    def _lose_paths(self, why: str) -> None:
        for connection in self._connections():
            connection.path_lost(why)
        self._limit_waiting()

    # The sessions as a whole.

    def _connections(self) -> list[Connection]:
        return [*self._entry.connections.values(), *self._exit.connections.values()]

    def _watch_deadlines(self) -> None:
        while True:
            gevent.sleep(TICK)
            if self._links.link is not None:
                self._reserve.fill()
            now = time.monotonic()
            self._entry.expire(now)
            self._exit.expire(now)
            for connection in self._connections():
                deadline = connection.session.deadline
                if deadline is not None and now >= deadline:
                    connection.expire()

    def _is_any_waiting(self) -> bool:
        return any(connection.session.path is PathState.WAITING for connection in self._connections())

    def _limit_waiting(self) -> None:
        """Give up the sessions that keep most bytes while too many sessions wait, or their bytes are too many."""
        waiting = [
            (connection.session.kept, connection)
            for connection in self._connections()
            if connection.session.path is PathState.WAITING
        ]
        waiting.sort(key=lambda pair: pair[0])
        total = sum(kept for kept, _ in waiting)
        while waiting and (len(waiting) > self.options.waiting_sessions or total > self.options.waiting_bytes):
            kept, connection = waiting.pop()
            total -= kept
            connection.fail(ResetReason.LIMIT, "too many sessions or bytes wait for a path")
