"""What an agent can be told. Times are in seconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from hubble.protocol import credit
from hubble.protocol.session import RESUME_TIMEOUT
from hubble.transport.dial.dial import DialOptions
from hubble.transport.link import Keepalive


@dataclass(frozen=True)
class AgentOptions:
    """The defaults suit most.

    link_wait: how long a new connection waits for a link to the proxy, and for its session while a limit is reached.
    max_pending: how many new connections may wait for that. dial_timeout: for a destination.
    max_dials, max_sessions: how many destinations an exit dials at once, and how many sessions it has.
    resume_timeout: how long a session waits for its path. hello_timeout: how long the proxy may take to answer the
    registration. waiting_sessions, waiting_bytes: how many sessions may wait for their path, keeping how much; those
    that keep most are given up first. retry_most: the longest pause between attempts to reach the proxy;
    retry_most_waiting: the same while sessions wait; retry_most_busy: the same after a proxy was busy. self_check:
    between checks that a proxy of protocol 0.1 still knows the agent.
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
