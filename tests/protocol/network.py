"""Agents with their sessions and applications around the model of modelproxy.py; time passes only when told to."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hubble.base.errors import ProtocolError
from hubble.protocol.credit import Budget, Window
from hubble.protocol.messages import Ack, Done, Eof, Initiator, Message, Refusal, Reset, ResetReason, Stream
from hubble.protocol.session import Session
from hubble.protocol.states import Ended, PathState, Suspended
from tests.protocol.modelproxy import Link, Proxy, Queue

KIB = 1024
PATTERN = random.Random(1).randbytes(1 << 16) * 32


class End:
    """A session with its application, whose bytes are a known pattern, and the shell around both."""

    def __init__(self, agent: Agent, session: Session, start: int) -> None:
        self.agent = agent
        self.session = session
        self.start = start
        """Where in PATTERN the application's bytes begin."""
        self.peer: End | None = None
        self.written = 0
        self.wrote_end = False
        self.failed = False
        self.read = 0
        self.read_end = False
        self.ended: Ended | None = None

    def __repr__(self) -> str:
        out, into = self.session.outgoing, self.session.incoming
        return (
            f"{self.session}: wrote {self.written}, of which {out.sent} sent and {out.acknowledged} consumed; may send "
            f"up to {out.limit}; got {into.expected}, of which {into.consumed} read, {into.consumed - into.unreported} "
            f"told; {self.ended}"
        )

    # What the application does.

    def write(self, size: int) -> None:
        size = min(size, self.session.room)
        if size and not self.wrote_end:
            begin = self.start + self.written
            self.session.write(PATTERN[begin : begin + size])
            self.written += size
            self.turn()

    def finish(self) -> None:
        if self.session.established and not self.wrote_end and not self.ended and not self.failed:
            self.wrote_end = True
            self.session.finish()
            self.turn()

    def fail(self) -> None:
        if not self.ended:
            self.failed = True
            self.session.fail(ResetReason.LOCAL_RESET)
            self.turn()

    @property
    def readable(self) -> bool:
        """Whether `take` has something to do."""
        return bool(self.session.incoming._chunks) or self.session.stream_ended

    def take(self, now: float, most: int) -> None:
        """Read once: what comes out must be what the other side wrote, and its end must be the end."""
        data = self.session.next_bytes(most)
        if data is not None:
            assert self.peer and not self.read_end
            begin = self.peer.start + self.read
            assert data == PATTERN[begin : begin + len(data)], "other bytes than were sent"
            self.read += len(data)
            assert self.read <= self.peer.written
            self.session.consumed(len(data), now)
        elif self.session.stream_ended:
            assert self.peer and not self.read_end and not self.failed and not self.ended
            assert self.peer.wrote_end and self.read == self.peer.written, "an end before the end"
            self.read_end = True
            self.session.consumed(1, now)
        self.turn()

    # The shell.

    @property
    def complete(self) -> bool:
        """Whether both applications have got all that the other has sent, and its end."""
        peer = self.peer
        return peer is not None and all(
            receiver.read_end and sender.wrote_end and receiver.read == sender.written
            for sender, receiver in ((self, peer), (peer, self))
        )

    def receive(self, message: Message, now: float) -> None:
        self.session.receive(message, now)
        self.turn()

    def turn(self) -> None:
        link = self.agent.link
        session = self.session
        while link and (message := session.next_message(0 if link.up.is_full(session.id) else 6 * KIB)):
            link.send_up(message)
        for event in session.events():
            if isinstance(event, Suspended):
                self.agent.suspended(self)
            elif isinstance(event, Ended):
                self.ended = event
                self.agent.forget(self)
                assert event.reason is not ResetReason.PROTOCOL_ERROR, event.text
                assert event.reason is not None or self.complete, "a clean end, but something is missing"


class Agent:
    """One of the two agents: `entry` opens sessions, `exit` serves them."""

    def __init__(self, name: str, network: Network) -> None:
        self.name = name
        self.network = network
        self.link: Link | None = None
        self.ends: dict[bytes, End] = {}

    def receive(self, message: Message, now: float) -> None:
        match message:
            case Ack():
                self.network.acknowledged(message)
            case Initiator():
                self.network.initiators.append(message)
                self.network.initiated(message)
            case _:
                end = self.ends.get(message.session)  # type: ignore[union-attr]
                if end:
                    end.receive(message, now)
                elif isinstance(message, Stream | Eof | Done):
                    self.say_unknown(message.session)

    def say_unknown(self, session: bytes) -> None:
        if self.link:
            self.link.send_up(Reset(session, self.name == "exit", ResetReason.UNKNOWN_SESSION))

    def lose_link(self, now: float) -> None:
        """The agent has noticed that its link is gone."""
        self.link = None
        for end in list(self.ends.values()):
            end.session.path_lost(now, "the link was lost")
            end.turn()

    def suspended(self, end: End) -> None:
        """An entry resumes it: here, when a test lets it."""

    def forget(self, end: End) -> None:
        self.ends.pop(end.session.id, None)


@dataclass
class Conditions:
    """What one run of the model is like: seconds, and bytes."""

    resume_timeout: float
    window: int
    largest: int
    credit: int
    keep: int


class Network:
    """Two agents, a proxy and the sessions between them."""

    def __init__(self, conditions: Conditions, sessions: int) -> None:
        self.now = 0.0
        self.conditions = conditions
        self.proxy = Proxy()
        self.entry, self.exit = Agent("entry", self), Agent("exit", self)
        self.agents = (self.entry, self.exit)
        self.links: list[Link] = []
        self.process = {agent.name: Budget(conditions.credit) for agent in self.agents}
        self.credit = {name: Budget(conditions.credit * 3 // 4, process) for name, process in self.process.items()}
        self.keep = {agent.name: Budget(conditions.keep) for agent in self.agents}
        self.ends: list[End] = []
        self.initiators: list[Initiator] = []
        self.acks: list[Ack] = []
        self.refused_at_once: set[bytes] = set()
        self.given_up: set[bytes] = set()
        """Sessions that one end gave up after its time-out, while the other end still had them."""
        self.dialling: dict[bytes, Initiator] = {}
        self.opened = 0
        for agent in self.agents:
            self.dial(agent)
        for _ in range(sessions):
            self.open()

    # Links.

    def dial(self, agent: Agent) -> None:
        """The agent registers over a new link; one that it had is left behind, and its sessions lose their path."""
        if agent.link:
            agent.link.cut = True  # closed: what it has sent may still arrive
            agent.lose_link(self.now)
        agent.link = Link(agent)
        self.links.append(agent.link)
        self.proxy.register(agent.link)
        for end in agent.ends.values():
            self.retry(end)

    def cut(self, link: Link, keep: Callable[[int], int]) -> None:
        """Messages vanish from some point on, in each direction; nobody knows yet."""
        link.cut = True
        link.up.truncate(keep)
        link.down.truncate(keep)

    def kill_proxy(self, keep: Callable[[int], int]) -> None:
        for link in self.links:
            link.up = Queue()
            link.known_to_proxy = False
            self.cut(link, keep)
        self.proxy.restart()

    def kill(self, agent: Agent, keep: Callable[[int], int]) -> None:
        """An agent's process is killed: its sessions are gone, and nobody is told."""
        if agent.link:
            self.cut(agent.link, keep)
            agent.link = None
        if agent is self.exit:
            self.dialling.clear()
        for end in list(agent.ends.values()):
            end.failed = True
            end.ended = Ended(ResetReason.AGENT_STOPPED)
            end.session.abandon()
            agent.forget(end)

    def queues(self) -> Iterator[tuple[Link, Queue, deque[Message]]]:
        """Every lane from which a message may arrive next: at the proxy, or at an agent that still reads its link."""
        for link in self.links:
            if link.known_to_proxy:
                yield from ((link, link.up, lane) for lane in link.up.waiting())
            if link.agent.link is link:
                yield from ((link, link.down, lane) for lane in link.down.waiting())

    def deliver(self, link: Link, queue: Queue, lane: deque[Message]) -> None:
        message = lane.popleft()
        if queue is link.up:
            self.proxy.receive(link, message)
        else:
            link.agent.receive(message, self.now)
        for end in list(link.agent.ends.values()):
            end.turn()  # its lane may have room again

    def whole_links(self) -> list[Link]:
        return [agent.link for agent in self.agents if agent.link and not agent.link.cut]

    def agents_to_notice(self) -> list[Agent]:
        """The agents that do not know yet that their link is gone."""
        return [agent for agent in self.agents if agent.link and agent.link.cut]

    def links_to_notice(self) -> list[Link]:
        """The links of which the proxy does not know yet that they are gone."""
        return [link for link in self.links if link.cut and link.known_to_proxy]

    def agents_without_link(self) -> list[Agent]:
        return [agent for agent in self.agents if agent.link is None]

    def relink(self) -> None:
        """All notice which links are gone, and agents without one register again."""
        for agent in self.agents:
            if agent.link is None or agent.link.cut:
                self.dial(agent)
        for link in self.links_to_notice():
            self.proxy.lost(link)
        self.forget_dead_links()

    def forget_dead_links(self) -> None:
        self.links = [link for link in self.links if link.known_to_proxy or link.agent.link is link]

    # Sessions.

    def new_session(self, agent: Agent, session: bytes, secret: bytes) -> Session:
        return Session(
            session,
            from_exit=agent is self.exit,
            secret=secret,
            window=Window(self.credit[agent.name], self.conditions.window, self.conditions.largest),
            keep=self.keep[agent.name],
            resume_timeout=self.conditions.resume_timeout,
        )

    def add(self, agent: Agent, session: Session) -> End:
        end = agent.ends[session.id] = End(agent, session, start=997 * len(self.ends))
        self.ends.append(end)
        return end

    def exit_ends(self) -> list[End]:
        return [end for end in self.ends if end.agent is self.exit]

    def open(self) -> None:
        self.opened += 1
        session_id = bytes([self.opened]) * 16
        self.retry(self.add(self.entry, self.new_session(self.entry, session_id, secret=session_id)))

    def retry(self, end: End) -> None:
        """The entry asks for a path, if the session waits for one."""
        link = end.agent.link
        if link and end.agent is self.entry and end.session.path is PathState.WAITING:
            initiator = Initiator(end.session.id, "host", 1, "exit", terms=end.session.connect(self.now))
            link.send_up(initiator)
            end.turn()

    def acknowledged(self, ack: Ack) -> None:
        """An Ack has come to the entry."""
        end = self.entry.ends.get(ack.session)
        if end is None:
            if ack.ok:
                self.entry.say_unknown(ack.session)
            return
        if not ack.ok:
            if not end.session.established and not end.session.refused(ack.code, ack.message, self.now):
                self.refused_at_once.add(ack.session)
            elif end.session.established:
                end.session.refused(ack.code, ack.message, self.now)
        else:
            assert ack.terms
            self.acks.append(ack)
            end.session.connected(ack.terms, self.now)
        end.turn()

    def initiated(self, initiator: Initiator) -> None:
        """An Initiator has come to the exit."""
        assert initiator.terms
        end = self.exit.ends.get(initiator.session)
        dialled_for = self.dialling.get(initiator.session)
        if dialled_for:
            assert dialled_for.terms
            if initiator.terms.secret == dialled_for.terms.secret:
                if initiator.terms.attempt > dialled_for.terms.attempt:
                    self.dialling[initiator.session] = initiator
            else:
                self._refuse(initiator)
        elif end:
            self._accept(end, initiator)
        elif initiator.terms.resume or any(each.session.id == initiator.session for each in self.exit_ends()):
            self._refuse(initiator)  # an Initiator may come late: it must not connect to the destination twice
        else:
            self.dialling[initiator.session] = initiator

    def dialled(self, session: bytes) -> None:
        """The exit has connected to the destination."""
        initiator = self.dialling.pop(session)
        assert initiator.terms
        end = self.add(self.exit, self.new_session(self.exit, session, initiator.terms.secret))
        end.peer = next(other for other in self.ends if other.session.id == session)
        end.peer.peer = end
        if self.exit.link:
            self._accept(end, initiator)
        else:
            end.session.path_lost(self.now, "the link was lost")

    def _accept(self, end: End, initiator: Initiator) -> None:
        assert initiator.terms
        try:
            terms = end.session.accept(initiator.terms, self.now)
        except ProtocolError:
            self._refuse(initiator)
            return
        if terms and end.agent.link:
            end.agent.link.send_up(Ack(initiator.session, True, terms=terms, path=initiator.path))
        end.turn()

    def _refuse(self, initiator: Initiator) -> None:
        if self.exit.link:
            ack = Ack(initiator.session, False, "unknown", Refusal.UNKNOWN_SESSION, path=initiator.path)
            self.exit.link.send_up(ack)

    # Time.

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for end in self.ends:
            deadline = end.session.deadline
            if deadline is not None and self.now >= deadline:
                end.session.expire(self.now)
                end.turn()
                if end.ended and end.peer and not end.peer.ended:
                    self.given_up.add(end.session.id)

    # The end of a run.

    def go_on(self, reads: bool) -> Iterator[None]:
        """Everything that can arrive does, one message with each step; if `reads`, all that can be read is."""
        moved = True
        while moved:
            moved = False
            for link, queue, lane in list(self.queues()):
                if lane:
                    self.deliver(link, queue, lane)
                    yield
                    moved = True
            for number in reversed(range(len(self.proxy.deciding))):
                self.proxy.decide(number)
                yield
                moved = True
            for session in list(self.dialling):
                self.dialled(session)
                yield
                moved = True
            for end in self.ends if reads else ():
                if end.readable:
                    end.take(self.now, 64 * KIB)
                    yield
                    moved = True

    def settle(self, reads: bool = True) -> None:
        for _ in self.go_on(reads):
            pass

    def heal(self) -> None:
        """All links are there again, and both applications say all that they have to say."""
        self.relink()
        for _ in range(60):
            self.settle()
            for end in list(self.entry.ends.values()):
                self.retry(end)
            for end in list(self.ends):
                end.finish()
            self.wait(0.25)
            if not any(agent.ends for agent in self.agents):
                return
