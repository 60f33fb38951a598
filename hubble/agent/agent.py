"""The agent: keeps a link to the proxy, and hands what comes over it to its two parts, entry and exit."""

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
from hubble.base.errors import LinkClosed, ProtocolError, UsageError
from hubble.base.keepalive import keep_running
from hubble.protocol.messages import ResetReason
from hubble.protocol.states import PathState
from hubble.transport.addresses import Socket
from hubble.transport.dial.dial import Target, check_usage, parse_url

log = logging.getLogger(__name__)

FAREWELL = 1.2
"""Seconds that the end of the link may take: a little longer than its own time-out."""
KILL_TIMEOUT = 0.5
TICK = 0.25
"""Seconds between looks at the sessions' deadlines."""


class Agent:
    """Registers with a proxy as the gateway `name`, forwards by its rules, and serves as an exit.

    `url` may be several, of proxies that know of each other: one of them is dialled, and kept until it is lost.
    `rules` are texts or Rules. `forbids` may say no to a destination. Raises UsageError for
    what cannot be meant. Call `run`, or `start` and later `stop`.
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
        """What `start` has returned."""
        self._links = Links()
        self._sessions = Sessions(self.options)
        self._entry = Entry(parse_rules(rules), self.options, self._links, self._sessions)
        self._exit = Exit(self.options, self._links, forbids, self._sessions)
        self._keeper = Keeper(name, targets, self.options, self._register, self._serve, self._is_any_waiting)
        self._self_check = SelfCheck(name, self._links, self.options.self_check)
        self._dispatcher = Dispatcher(self._entry, self._exit, self._self_check, self._keeper.go_away)
        self._stopping = False
        self._greenlets: list[gevent.Greenlet] = []
        self._metrics: AgentMetrics | None = None

    def run(self) -> None:
        """Start, and serve until `stop`. Raises what `start` and `wait` do."""
        self.start()
        self.wait()

    def start(self) -> list[tuple[Rule, str, int]]:
        """Listen, and begin to dial: each rule with the address and port it listens on. Raises ListenError."""
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
        """Answer Prometheus on a listener of its own (docs/metrics.md), until `stop`."""
        self._metrics = AgentMetrics(listener, self._links.meters, self._connections, lambda: self._links.link)

    def wait(self) -> None:
        """Wait until the agent has stopped.

        Raises RegistrationInvalid if every proxy refused the first registration and the last as invalid, and with
        `exit_on_failure` whatever made the first registration fail.
        """
        self._greenlets[0].get()
        if self._keeper.gave_up is not None:
            raise self._keeper.gave_up

    def stop(self) -> None:
        """Reset all sessions, say good-bye to the proxy, and end: within about a second, whatever the proxy does."""
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
        if self._metrics is not None:
            self._metrics.stop()

    # The link.

    def _register(self, target: Target) -> Registered:
        return register(target, self._identity, self.options)

    def _serve(self, registered: Registered) -> None:
        link = registered.link
        link.on_drained = self._dispatcher.lane_drained
        self._links.set(link, registered.resumable)
        try:
            self._entry.resume_all(link)
            self._dispatcher.serve(registered)
        except ProtocolError as error:
            link.close(1002, str(error))
            raise
        except LinkClosed:
            raise
        except BaseException:  # nobody reads the link any more
            link.abort("serving it failed")
            raise
        finally:
            self._links.clear()
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
        """Give up the sessions that keep most, where more wait, or keep more, than is allowed."""
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
            connection.fail(ResetReason.LIMIT, "too many sessions, or bytes, wait for their path")
