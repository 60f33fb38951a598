"""The options of an agent. Times are in seconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from hubble.protocol import credit
from hubble.protocol.session import RESUME_TIMEOUT
from hubble.transport.dial.dial import DialOptions
from hubble.transport.link import Keepalive


@dataclass(frozen=True)
class AgentOptions:
    """Options with defaults that suit most deployments.

    link_wait: the time that a new connection waits for a link to the proxy, or for its session while a limit is
    reached. max_pending: the number of new connections that may wait. dial_timeout: the time that a destination may
    take to accept. max_dials, max_sessions: the destinations that an exit dials at a time, and its sessions.
    resume_timeout: the time that a session waits for a new path. hello_timeout: the time that the proxy may take to
    answer the registration. waiting_sessions, waiting_bytes: the sessions that may wait for a path, and the bytes they
    may keep; sessions that keep most are given up first. retry_first, retry_most: the first and the longest pause
    between attempts to reach a proxy. retry_most_waiting: the longest pause while sessions wait. retry_most_busy: the
    longest pause after a proxy was busy. self_check: the time between checks that a proxy of protocol 0.1 still knows
    the agent.
    """

    link_wait: float = 10.0
    max_pending: int = 1_000
    dial_timeout: float = 10.0
    max_dials: int = 100
    max_sessions: int = 20_000
    resume_timeout: float = RESUME_TIMEOUT
    hello_timeout: float = 10.0
    retry_first: float = 0.5
    retry_most: float = 30.0
    retry_most_busy: float = 5.0
    retry_most_waiting: float = 2.0
    self_check: float = 60.0
    initial_window: int = credit.INITIAL_WINDOW
    largest_window: int = credit.LARGEST_WINDOW
    link_budget: int = credit.LINK_BUDGET
    process_budget: int = credit.PROCESS_BUDGET
    waiting_sessions: int = 10_000
    waiting_bytes: int = 256 * 1024 * 1024
    exit_on_failure: bool = False
    dial: DialOptions = field(default_factory=DialOptions)
    keepalive: Keepalive = field(default_factory=Keepalive)
