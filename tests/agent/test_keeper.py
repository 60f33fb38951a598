"""Keeping a link, whatever the proxy does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import socket

from hubble.agent import keeper
from hubble.agent.keeper import TRANSITIONS, Change, State
from hubble.protocol.messages import Ack, GoAway, Refusal
from tests.support.agents import started
from tests.support.fakeproxy import FakeProxy
from tests.support.talk import PATIENCE
from tests.support.waiting import poll

pytestmark = pytest.mark.usefixtures("quick_farewells")

SLOW: dict[str, Any] = {"retry_first": 0.4, "retry_most": 60.0, "retry_most_waiting": 60.0}


def count_calls(fake: FakeProxy, answer: Callable[[Any], object], seconds: float) -> int:
    """How often an agent comes within so many seconds, if each link is answered so."""
    count, until = 0, time.monotonic() + seconds
    with gevent.Timeout(seconds, False):
        while time.monotonic() < until:
            answer(fake.call())
            count += 1
    return count


class TestTransitions:
    def test_every_state_can_be_reached_and_left(self) -> None:
        assert {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(State)
        assert {change for _, change in TRANSITIONS} == set(Change)
        assert all(
            following is State.STOPPED for (state, _), following in TRANSITIONS.items() if state is State.STOPPED
        )

    def test_the_way_of_an_agent(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False, options=SLOW) as running:
            states = running.agent._keeper

            def state() -> State:
                return states.state

            call = fake.call()
            assert state() is State.DIALING
            call.accept()
            poll(lambda: state() is State.LINKED, PATIENCE, "it is linked")
            call.say(GoAway(10))
            new = fake.call()
            assert state() is State.MOVING
            new.accept()
            poll(lambda: state() is State.LINKED, PATIENCE, "it is linked again")
            new.cut()
            poll(lambda: state() is State.PAUSING, PATIENCE, "it pauses")
            running.agent.stop()
            assert state() is State.STOPPED


class TestHostileProxies:
    def test_links_that_end_at_once_do_not_make_it_come_ever_faster(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False, options=SLOW):
            # Pauses of 0.2 to 0.4, 0.4 to 0.8, 0.8 to 1.6 s follow: a fourth link may come after 1.4 s at the earliest.
            assert count_calls(fake, lambda call: call.accept().cut(), 1.3) <= 3

    def test_refusals_do_not_either(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False, options=SLOW):
            assert count_calls(fake, lambda call: call.refuse("no", Refusal.BUSY), 1.3) <= 3

    def test_a_busy_proxy_is_tried_again_soon(self, fake: FakeProxy) -> None:
        """Being busy is no failure, also for an agent that is to end at the first."""
        slow = {"retry_first": PATIENCE * 3, "retry_most": PATIENCE * 3, "retry_most_busy": 0.1}
        with started(fake.url, "agent", linked=False, options={"exit_on_failure": True, **slow}) as running:
            for _ in range(keeper.BUSY_ATTEMPTS - 1):
                fake.call().refuse("busy, try again", Refusal.BUSY)
            fake.accept()
            running.wait_linked()

    def test_a_proxy_that_goes_away_at_once_each_time_is_paced(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False, options=SLOW):
            assert count_calls(fake, lambda call: call.accept().say(GoAway(10)), 1.3) <= 3

    def test_a_link_that_lasted_is_followed_at_once(self, fake: FakeProxy, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keeper, "STEADY", 0.0)
        with started(fake.url, "agent", linked=False, options=SLOW | {"retry_first": PATIENCE}):
            for _ in range(3):
                call = fake.accept()
                gevent.sleep(0.05)
                call.say(GoAway(10))
            fake.call()

    def test_goaways_again_and_again_are_one(self, fake: FakeProxy, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        with started(fake.url, "agent", linked=False) as running:
            old = fake.accept()
            running.wait_linked()
            for _ in range(1000):
                old.say(GoAway(10))
            new = fake.accept()
            for _ in range(1000):
                old.say(GoAway(10))
            old.wait_end()
            poll(lambda: running.agent._keeper.state is State.LINKED, PATIENCE, "it has moved")
            assert not new.link.closed
            assert fake.calls_waiting == 0
            assert caplog.text.count("the proxy will close the link within") == 1

    def test_an_answer_that_never_ends(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False, options={"hello_timeout": 0.3}):
            call = fake.call()

            def go_on() -> None:
                while not call.link.closed:
                    call.link._framing.ping(b"still here")  # control frames are no answer
                    call.link._schedule()
                    gevent.sleep(0.02)

            talking = gevent.spawn(go_on)
            began = time.monotonic()
            assert call.wait_end()
            assert time.monotonic() - began < 5
            talking.join(PATIENCE)

    def test_text_for_the_log_is_one_line(self, fake: FakeProxy, caplog: pytest.LogCaptureFixture) -> None:
        with started(fake.url, "agent", linked=False):
            fake.call().refuse("no\n2026-01-01 ERROR forged\x1b[2J" + "x" * 4000)
            fake.accept()
            poll(lambda: "refused the registration" in caplog.text, PATIENCE, "it is logged")
            line = next(each.getMessage() for each in caplog.records if "refused the reg" in each.getMessage())
            assert line.isprintable() and len(line) < 400

    def test_answers_to_what_nobody_asked_are_bounded_by_the_link(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False) as running:
            call = fake.accept()
            running.wait_linked()
            for number in range(2000):
                call.say(Ack(number.to_bytes(16, "big"), True))
            heard = {call.hear_any() for _ in range(2000)}
            assert len(heard) == 2000
            assert running.sessions() == 0


class TestStopping:
    """Within two seconds, whatever the proxy does."""

    def stops(self, running: Any) -> None:
        began = time.monotonic()
        running.agent.stop()
        running.agent.wait()
        assert time.monotonic() - began < 3  # on a busy machine as well

    def test_while_the_proxy_reads_nothing(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False) as running:
            call = fake.accept()
            running.wait_linked()
            call.freeze()
            link = running.agent._links.link
            assert link is not None
            link.send(bytes(1_000_000), "much")
            self.stops(running)

    def test_while_the_proxy_floods(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False) as running:
            call = fake.accept()
            running.wait_linked()

            def flood() -> None:
                while not call.link.closed:
                    for number in range(100):  # the agent and its flood share this thread
                        call.say(Ack(number.to_bytes(16, "big"), True))
                    gevent.sleep(0)

            flooding = gevent.spawn(flood)
            gevent.sleep(0.1)
            self.stops(running)
            flooding.kill()

    def test_before_the_upgrade_is_answered(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            with started(f"ws://127.0.0.1:{port}", "agent", linked=False) as running:
                accepted = silent.accept()[0]
                self.stops(running)
                accepted.close()

    def test_while_it_moves(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False) as running:
            old = fake.accept()
            running.wait_linked()
            old.say(GoAway(10))
            fake.call()  # and no answer
            self.stops(running)
            gevent.sleep(0.2)
            assert fake.calls_waiting == 0

    def test_a_link_registered_at_that_moment_is_closed(self, fake: FakeProxy) -> None:
        with started(fake.url, "agent", linked=False) as running:
            old = fake.accept()
            running.wait_linked()
            old.say(GoAway(10))
            new = fake.accept()
            self.stops(running)
            assert new.wait_end()
