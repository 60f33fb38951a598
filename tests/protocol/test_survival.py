"""Whatever happens to the links and to the proxy, no session loses, doubles or reorders a byte, or ends falsely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hubble.base.errors import ProtocolError
from hubble.protocol.messages import ResetReason, Terms
from hubble.protocol.states import PathState
from tests.protocol.network import KIB, Conditions, End, Network
from tests.support.examples import MAX_EXAMPLES, TIMEOUT

T = TypeVar("T")

FOR_EVER = 1e9

AMPLE = partial(Conditions, window=20 * KIB, largest=80 * KIB, credit=128 * KIB, keep=128 * KIB)
"""Credit holds the sessions back."""
STARVED = partial(Conditions, window=80 * KIB, largest=80 * KIB, credit=400 * KIB, keep=24 * KIB)
"""The budget for what is kept does."""

choices = st.integers(0, 1 << 16)
"""One of a number of things, which is known only when the rule runs."""
sizes = st.integers(1, 20 * KIB)

HAPPENINGS = [
    *(["deliver"] * 8 + ["read"] * 4 + ["write"] * 3),
    *["decide", "decide", "reach", "reach"],
    *["cut", "kill_agent", "open", "open", "agent_notices", "proxy_notices", "dial", "dial", "retry", "wait", "wait"],
    *["repeat", "old_initiator", "old_ack", "theft", "late_read"],
]
"""What `Survival.happen` does, as often as it stands here."""


def one_of(things: Sequence[T], choice: int) -> T:
    return things[choice % len(things)]


def is_here(end: End) -> bool:
    return True


def is_exit(end: End) -> bool:
    return end.session.from_exit


def can_write(end: End) -> bool:
    return end.session.room > 0 and not end.wrote_end


def can_finish(end: End) -> bool:
    return end.session.established and not end.wrote_end and not end.failed


def can_read(end: End) -> bool:
    return end.readable


def has_a_peer(end: End) -> bool:
    """Whether both ends of a session are alive."""
    peer = end.peer
    return peer is not None and not (end.failed or peer.failed or peer.ended)


def waits_for_a_path(end: End) -> bool:
    return end.session.path is PathState.WAITING and end.agent.link is not None and not is_exit(end)


class Survival(RuleBasedStateMachine):
    """Two sessions and a lossy path. At every step what was received is a prefix of what was sent (`End.take`)."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Network(AMPLE(60.0), sessions=0)
        self.may_fail = False

    @initialize(patient=st.booleans(), starved=st.booleans(), may_fail=st.booleans(), opened=st.booleans())
    def begin(self, patient: bool, starved: bool, may_fail: bool, opened: bool) -> None:
        self.network = Network((STARVED if starved else AMPLE)(FOR_EVER if patient else 60.0), sessions=2)
        self.may_fail = may_fail
        if opened:
            self.network.settle()

    def ends(self, condition: Callable[[End], bool]) -> list[End]:
        return [end for end in self.network.ends if not end.ended and condition(end)]

    # The applications.

    @precondition(lambda self: self.ends(can_write))
    @rule(which=choices, size=sizes)
    def write(self, which: int, size: int) -> None:
        one_of(self.ends(can_write), which).write(size)

    @precondition(lambda self: self.ends(can_finish))
    @rule(which=choices, both=st.booleans())
    def finish(self, which: int, both: bool) -> None:
        end = one_of(self.ends(can_finish), which)
        end.finish()
        if both and end.peer:
            end.peer.finish()

    @precondition(lambda self: self.may_fail and self.ends(is_here))
    @rule(which=choices)
    def fail(self, which: int) -> None:
        one_of(self.ends(is_here), which).fail()

    # The path, calm and wild.

    @rule(reads=st.booleans(), heals=st.booleans())
    def calm(self, reads: bool, heals: bool) -> None:
        """Everything arrives; perhaps everything is read too, and links that are gone are there again."""
        if heals:
            self.network.relink()
        self.network.settle(reads)
        if heals:
            self.nobody_waits_in_vain()

    @rule(after=st.integers(0, 30), which=choices)
    def calm_for_a_while(self, after: int, which: int) -> None:
        for _ in islice(self.network.go_on(reads=True), after):
            pass
        self._cut(which)

    @rule(happenings=st.lists(st.tuples(st.sampled_from(HAPPENINGS), choices), min_size=8, max_size=40))
    def happen(self, happenings: list[tuple[str, int]]) -> None:
        """One thing after the other, in whatever order: what arrives, breaks, is noticed, and comes back."""
        for what, which in happenings:
            getattr(self, "_" + what)(which)
            self.nothing_is_let_go_of_before_the_application_has_it()

    def _deliver(self, which: int) -> None:
        waiting = list(self.network.queues())
        if waiting:
            self.network.deliver(*one_of(waiting, which))

    def _repeat(self, which: int) -> None:
        """What is to arrive next arrives twice."""
        waiting = [lane for _, _, lane in self.network.queues()]
        if waiting:
            lane = one_of(waiting, which)
            lane.appendleft(lane[0])

    def _decide(self, which: int) -> None:
        """The policy has granted an Initiator."""
        deciding = self.network.proxy.deciding
        if deciding:
            self.network.proxy.decide(which % len(deciding))

    def _reach(self, which: int) -> None:
        """The exit has connected to a destination."""
        dialling = sorted(self.network.dialling)
        if dialling:
            self.network.dialled(one_of(dialling, which))

    def _write(self, which: int) -> None:
        writers = self.ends(can_write)
        if writers:
            one_of(writers, which).write(which % (20 * KIB) + 1)

    def _read(self, which: int) -> None:
        readers = self.ends(can_read)
        if readers:
            one_of(readers, which).take(self.network.now, 8 * KIB)

    def _cut(self, which: int) -> None:
        """A link, or all as the proxy is killed: messages vanish from some point on, and nobody knows yet."""
        links = self.network.whole_links()
        keep = which // 8
        if links and which % 8 == 0:
            self.network.kill_proxy(lambda size: keep % (size + 1))
        elif links:
            self.network.cut(one_of(links, which), lambda size: keep % (size + 1))

    def _open(self, which: int) -> None:
        """In place of a session that is over there is another."""
        if len(self.network.entry.ends) < 2 and self.network.opened < 10:
            self.network.open()

    def _kill_agent(self, which: int) -> None:
        if self.may_fail:
            self.network.kill(one_of(self.network.agents, which), lambda size: which // 2 % (size + 1))

    def _agent_notices(self, which: int) -> None:
        agents = self.network.agents_to_notice()
        if agents:
            one_of(agents, which).lose_link(self.network.now)

    def _proxy_notices(self, which: int) -> None:
        links = self.network.links_to_notice()
        if links:
            self.network.proxy.lost(one_of(links, which))

    def _dial(self, which: int) -> None:
        """An agent without a link dials; if none is without, one leaves a link that works, as it was asked to."""
        waiting = self.network.agents_without_link() or self.network.agents_to_notice()
        self.network.dial(one_of(waiting or self.network.agents, which))
        self.network.forget_dead_links()

    def _retry(self, which: int) -> None:
        waiting = self.ends(waits_for_a_path)
        if waiting:
            self.network.retry(one_of(waiting, which))

    def _wait(self, which: int) -> None:
        self.network.wait(one_of([0.01, 0.25, 0.25, 0.25, 10.0], which))

    # What comes late, or from somebody else.

    def _old_initiator(self, which: int) -> None:
        if self.network.initiators:
            self.network.initiated(one_of(self.network.initiators, which))

    def _old_ack(self, which: int) -> None:
        if self.network.acks:
            self.network.acknowledged(one_of(self.network.acks, which))

    def _theft(self, which: int) -> None:
        """Somebody who does not know the secret asks for the session, and changes nothing."""
        ends = self.ends(is_exit)
        if ends:
            session = one_of(ends, which).session
            before = session.path, session.deadline
            with pytest.raises(ProtocolError):
                session.accept(Terms(which + 1, 0, 1 << 40, secret=bytes(16), resume=True), self.network.now)
            assert (session.path, session.deadline) == before

    def _late_read(self, which: int) -> None:
        """A read of the local socket returns when the session is over already."""
        over = [end for end in self.network.ends if end.ended or end.failed]
        if over:
            one_of(over, which).session.write(b"late")
            one_of(over, which).session.finish()

    # What must hold.

    @invariant()
    def nothing_is_let_go_of_before_the_application_has_it(self) -> None:
        for end in self.ends(has_a_peer):
            assert end.peer
            sender, receiver = end.session.outgoing, end.peer.session.incoming
            assert sender.acknowledged <= receiver.consumed <= receiver.expected <= sender.end + sender.finished
            assert sender.end <= max(sender.limit, receiver.limit)
            assert receiver.waiting <= self.network.conditions.largest

    @invariant()
    def the_budgets_are_right(self) -> None:
        for agent in self.network.agents:
            sessions = [end.session for end in self.network.ends if end.agent is agent]
            assert self.network.keep[agent.name].taken == sum(session.outgoing.kept for session in sessions)

    def teardown(self) -> None:
        network = self.network
        network.relink()
        network.settle()
        self.nobody_waits_in_vain()
        self.everybody_may_write()
        network.heal()
        for end in network.ends:
            lingers = is_exit(end) and end.complete and end.peer and end.peer.ended
            assert end.ended or lingers or self.is_excused(end), f"stuck: {end}, {end.peer}"
        network.wait(FOR_EVER)
        for end in network.ends:
            assert end.session.path is PathState.ENDED, f"never ends: {end}, {end.peer}"
        for end in network.ends:
            self.check_result(end)
        for budgets in (network.process, network.credit, network.keep):
            assert [budget.taken for budget in budgets.values()] == [0, 0]

    def nobody_waits_in_vain(self) -> None:
        """Everything has arrived: who still believes in its path has somebody at the other end of it."""
        for end in self.ends(is_here):
            believes = end.session.path is PathState.OPEN and not end.session.finished
            assert not believes or not end.peer or not end.peer.ended, f"not told: {end}, {end.peer}"

    def everybody_may_write(self) -> None:
        """Everything was read: the credit is back, and so is the budget for what is kept."""
        for _ in range(2):
            self.network.wait(1.0)
            self.network.settle()
        for end in self.ends(can_finish):
            assert end.session.room or end.session.path is not PathState.OPEN, f"stuck: {end}, {end.peer}"

    def is_excused(self, end: End) -> bool:
        """Whether something has happened that a session need not survive."""
        ends = [end, end.peer] if end.peer else [end]
        return (
            any(each.failed for each in ends)
            or any(each.ended and each.ended.reason is ResetReason.NOT_RESUMED for each in ends)
            or end.session.id in self.network.refused_at_once | self.network.given_up
        )

    def check_result(self, end: End) -> None:
        assert end.ended
        if end.ended.reason is None:
            assert end.complete
        else:
            assert self.is_excused(end), f"reset: {end}, {end.peer}"
            assert not end.peer or not end.peer.ended or end.peer.ended.reason is not None or end.complete


TestSurvival = pytest.mark.timeout(TIMEOUT)(Survival.TestCase)
TestSurvival.settings = settings(
    max_examples=2 * MAX_EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
