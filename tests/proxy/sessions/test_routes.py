from __future__ import annotations

from typing import Any

from hubble.proxy.sessions.routes import Leg, Route, Routes

S, T = b"s" * 16, b"t" * 16


def leg(name: str) -> Leg:
    link: Any = None  # routes never touch it
    return Leg(link, name, resumable=True)


def route(entry: Leg, exit_leg: Leg, session: bytes = S, *, path: int = 1, resumable: bool = True) -> Route:
    return Route(session, entry, exit_leg, source=entry.name, destination=exit_leg.name, path=path, resumable=resumable)


def test_a_route_is_found_by_its_session_once_it_is_laid() -> None:
    routes, entry, exit_leg = Routes(), leg("entry"), leg("exit")
    laid = route(entry, exit_leg)
    routes.propose(laid)
    assert routes.get(S) is None and len(routes) == 0
    routes.lay(laid)
    assert routes.get(S) is laid and len(routes) == 1
    assert entry.routes == exit_leg.routes == {S: laid}
    assert (laid.leg(False), laid.leg(True)) == (entry, exit_leg)


def test_a_later_route_replaces_an_older_one_on_all_legs() -> None:
    routes, old_entry, new_entry, exit_leg = Routes(), leg("entry"), leg("entry"), leg("exit")
    old, new = route(old_entry, exit_leg), route(new_entry, exit_leg, path=2)
    routes.lay(old)
    routes.lay(new)
    assert routes.get(S) is new
    assert old_entry.routes == {}
    assert new_entry.routes == exit_leg.routes == {S: new}


def test_removing_a_replaced_route_leaves_its_successor() -> None:
    routes, entry, exit_leg = Routes(), leg("entry"), leg("exit")
    old, new = route(entry, exit_leg), route(entry, exit_leg, path=2)
    routes.lay(old)
    routes.lay(new)
    routes.remove(old)
    routes.remove(None)
    assert routes.get(S) is new and entry.routes == {S: new}
    routes.remove(new)
    assert routes.get(S) is None and entry.routes == exit_leg.routes == {}


def test_an_answer_takes_the_proposal_with_its_path() -> None:
    routes, entry, exit_leg = Routes(), leg("entry"), leg("exit")
    first, second = route(entry, exit_leg, path=1), route(entry, exit_leg, path=2)
    routes.propose(first)
    routes.propose(second)
    assert routes.answered(exit_leg, S, 2) is second
    assert routes.answered(exit_leg, S, 2) is None
    assert routes.answered(exit_leg, T, 1) is None
    assert routes.answered(exit_leg, S, 1) is first
    assert entry.proposals == exit_leg.proposals == {}


def test_only_the_exit_that_was_asked_answers() -> None:
    routes, entry, exit_leg, other = Routes(), leg("entry"), leg("exit"), leg("other")
    proposed = route(entry, exit_leg)
    routes.propose(proposed)
    assert routes.answered(entry, S, 1) is None
    assert routes.answered(other, S, 1) is None
    assert routes.answered(exit_leg, S, 1) is proposed


def test_the_latest_proposal_of_an_entry() -> None:
    routes, entry, exit_leg = Routes(), leg("entry"), leg("exit")
    first, second = route(entry, exit_leg, path=1), route(entry, exit_leg, path=2)
    routes.propose(first)
    routes.propose(second)
    assert routes.proposed_by(entry, S) is second
    assert routes.proposed_by(exit_leg, S) is None
    routes.withdraw(second)
    assert routes.proposed_by(entry, S) is first


def test_an_agent_may_reach_itself() -> None:
    routes, agent = Routes(), leg("agent")
    own = route(agent, agent)
    routes.propose(own)
    assert routes.answered(agent, S, 1) is own
    routes.lay(own)
    assert agent.routes == {S: own}
    routes.remove(own)
    assert agent.routes == {}


class TestStealing:
    def test_a_new_session_steals_nothing(self) -> None:
        assert not Routes().would_steal(route(leg("entry"), leg("exit")))

    def test_the_same_agents_may_lay_it_anew_over_other_links(self) -> None:
        routes = Routes()
        routes.lay(route(leg("entry"), leg("exit")))
        assert not routes.would_steal(route(leg("entry"), leg("exit"), path=2))

    def test_another_entry_may_not(self) -> None:
        routes, exit_leg = Routes(), leg("exit")
        routes.lay(route(leg("entry"), exit_leg))
        assert routes.would_steal(route(leg("thief"), exit_leg, path=2))

    def test_another_exit_may_not(self) -> None:
        routes, entry = Routes(), leg("entry")
        routes.lay(route(entry, leg("exit")))
        assert routes.would_steal(route(entry, leg("thief"), path=2))

    def test_a_session_of_protocol_0_1_is_never_laid_anew(self) -> None:
        routes, entry, exit_leg = Routes(), leg("entry"), leg("exit")
        routes.lay(route(entry, exit_leg, path=0, resumable=False))
        assert routes.would_steal(route(entry, exit_leg, path=0))
