from __future__ import annotations

from typing import Any

from hubble.proxy.sessions.routes import Route, Routes
from hubble.transport.peer import Peer

S, T = b"s" * 16, b"t" * 16


def peer(name: str) -> Peer:
    link: Any = None  # routes never touch it
    return Peer(link, name, resumable=True)


def route(entry: Peer, exit_peer: Peer, session: bytes = S, *, path: int = 1, resumable: bool = True) -> Route:
    return Route(session, entry, exit_peer, source=entry.name, gateway=exit_peer.name, path=path, resumable=resumable)


def test_a_route_is_found_by_its_session_once_it_is_laid() -> None:
    routes, entry, exit_peer = Routes(), peer("entry"), peer("exit")
    laid = route(entry, exit_peer)
    routes.propose(laid)
    assert routes.get(S) is None and len(routes) == 0
    routes.lay(laid)
    assert routes.get(S) is laid and len(routes) == 1
    assert routes.of(entry).routes == routes.of(exit_peer).routes == {S: laid}
    assert [half.sender for half in laid.halves] == [half.receiver for half in laid.halves[::-1]] == [entry, exit_peer]


def test_a_later_route_replaces_an_older_one_on_all_peers() -> None:
    routes, old_entry, new_entry, exit_peer = Routes(), peer("entry"), peer("entry"), peer("exit")
    old, new = route(old_entry, exit_peer), route(new_entry, exit_peer, path=2)
    routes.lay(old)
    routes.lay(new)
    assert routes.get(S) is new
    assert routes.of(old_entry).routes == {}
    assert routes.of(new_entry).routes == routes.of(exit_peer).routes == {S: new}


def test_removing_a_replaced_route_leaves_its_successor() -> None:
    routes, entry, exit_peer = Routes(), peer("entry"), peer("exit")
    old, new = route(entry, exit_peer), route(entry, exit_peer, path=2)
    routes.lay(old)
    routes.lay(new)
    routes.remove(old)
    routes.remove(None)
    assert routes.get(S) is new and routes.of(entry).routes == {S: new}
    routes.remove(new)
    assert routes.get(S) is None and routes.of(entry).routes == routes.of(exit_peer).routes == {}


def test_an_answer_takes_the_proposal_with_its_path() -> None:
    routes, entry, exit_peer = Routes(), peer("entry"), peer("exit")
    first, second = route(entry, exit_peer, path=1), route(entry, exit_peer, path=2)
    routes.propose(first)
    routes.propose(second)
    assert routes.answered(exit_peer, S, 2) is second
    assert routes.answered(exit_peer, S, 2) is None
    assert routes.answered(exit_peer, T, 1) is None
    assert routes.answered(exit_peer, S, 1) is first
    assert routes.of(entry).proposals == routes.of(exit_peer).proposals == {}


def test_only_the_exit_that_was_asked_answers() -> None:
    routes, entry, exit_peer, other = Routes(), peer("entry"), peer("exit"), peer("other")
    proposed = route(entry, exit_peer)
    routes.propose(proposed)
    assert routes.answered(entry, S, 1) is None
    assert routes.answered(other, S, 1) is None
    assert routes.answered(exit_peer, S, 1) is proposed


def test_the_latest_proposal_of_an_entry() -> None:
    routes, entry, exit_peer = Routes(), peer("entry"), peer("exit")
    first, second = route(entry, exit_peer, path=1), route(entry, exit_peer, path=2)
    routes.propose(first)
    routes.propose(second)
    assert routes.proposed_by(entry, S) is second
    assert routes.proposed_by(exit_peer, S) is None
    routes.withdraw(second)
    assert routes.proposed_by(entry, S) is first


def test_an_agent_may_reach_itself() -> None:
    routes, agent = Routes(), peer("agent")
    own = route(agent, agent)
    routes.propose(own)
    assert routes.answered(agent, S, 1) is own
    routes.lay(own)
    assert routes.of(agent).routes == {S: own}
    routes.remove(own)
    assert routes.of(agent).routes == {}


class TestStealing:
    def test_a_new_session_steals_nothing(self) -> None:
        assert not Routes().would_steal(route(peer("entry"), peer("exit")))

    def test_the_same_agents_may_lay_it_again_over_other_links(self) -> None:
        routes = Routes()
        routes.lay(route(peer("entry"), peer("exit")))
        assert not routes.would_steal(route(peer("entry"), peer("exit"), path=2))

    def test_another_entry_may_not(self) -> None:
        routes, exit_peer = Routes(), peer("exit")
        routes.lay(route(peer("entry"), exit_peer))
        assert routes.would_steal(route(peer("thief"), exit_peer, path=2))

    def test_another_exit_may_not(self) -> None:
        routes, entry = Routes(), peer("entry")
        routes.lay(route(entry, peer("exit")))
        assert routes.would_steal(route(entry, peer("thief"), path=2))

    def test_a_session_of_protocol_0_1_is_never_laid_again(self) -> None:
        routes, entry, exit_peer = Routes(), peer("entry"), peer("exit")
        routes.lay(route(entry, exit_peer, path=0, resumable=False))
        assert routes.would_steal(route(entry, exit_peer, path=0))
