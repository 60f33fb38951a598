from __future__ import annotations

import gevent
import pytest

from hubble.directory import LocalDirectory, Worker
from hubble.protocol.messages import Ack, Refusal
from hubble.proxy.gateways.gateway import Gateway
from hubble.proxy.gateways.registry import Gateways, NameTaken
from hubble.proxy.proxy import Proxy
from tests.support.speakers import Speaker, agent, introduced, legacy_agent, our_hello
from tests.support.talk import PATIENCE
from tests.support.waiting import poll

ME, OTHER = b"m" * 16, b"o" * 16

pytestmark = pytest.mark.usefixtures("quick_farewells")


class FakeLink:
    """A link as gateways use it: `alive` is what a probe finds, which takes until `found` if that is given."""

    def __init__(self, *, alive: bool = True) -> None:
        self.alive = alive
        self.closed = False
        self.why = ""
        self.probes: list[float] = []
        self.probed = gevent.event.Event()
        self.found = gevent.event.Event()
        self.found.set()

    def probe(self, timeout: float) -> bool:
        self.probes.append(timeout)
        self.probed.set()
        self.found.wait()
        return self.alive and not self.closed

    def abort(self, why: str) -> None:
        self.closed = True
        self.why = why


def gateway(instance: bytes = ME, epoch: int = 1, *, name: str = "agent", alive: bool = True) -> Gateway:
    link = FakeLink(alive=alive)
    return Gateway(link, name, bool(instance), instance, epoch, "192.0.2.1")  # type: ignore[arg-type]


@pytest.fixture
def gateways() -> Gateways:
    return Gateways(Worker("me", ""), LocalDirectory(), probe_timeout=0.25)


def refusal(gateways: Gateways, newcomer: Gateway) -> Refusal:
    with pytest.raises(NameTaken) as caught:
        gateways.register(newcomer)
    assert "\n" not in str(caught.value)
    return caught.value.code


class TestNames:
    def test_a_free_name_is_had(self, gateways: Gateways) -> None:
        first, second = gateway(), gateway(name="another")
        gateways.register(first)
        gateways.register(second)
        assert gateways.get("agent") is gateways.find("agent") is first
        assert gateways.get("nobody") is gateways.find("nobody") is None
        assert set(gateways) == {first, second} and len(gateways) == 2

    def test_a_name_is_free_again_when_its_holder_leaves(self, gateways: Gateways) -> None:
        first = gateway()
        gateways.register(first)
        assert gateways.unregister(first, "its link was lost")
        assert not gateways.unregister(first, "its link was lost")
        assert gateways.get("agent") is None
        gateways.register(gateway(OTHER))

    def test_who_was_replaced_does_not_take_the_name_along(self, gateways: Gateways) -> None:
        # In the original, when a duplicate leaves, the name is gone although the first is still there.
        first, returned = gateway(epoch=1), gateway(epoch=2)
        gateways.register(first)
        gateways.register(returned)
        assert not gateways.unregister(first, "its link was lost")
        assert gateways.get("agent") is returned


class TestTheSameAgent:
    def test_its_return_evicts_its_old_link_at_once(self, gateways: Gateways) -> None:
        first, returned = gateway(epoch=5), gateway(epoch=6)
        gateways.register(first)
        gateways.register(returned)
        assert gateways.get("agent") is returned
        assert first.link.closed and first.link.why == "the agent reconnected"
        assert first.link.probes == []  # type: ignore[attr-defined]

    @pytest.mark.parametrize("epoch", [4, 5])
    def test_a_stale_epoch_is_refused(self, gateways: Gateways, epoch: int) -> None:
        first = gateway(epoch=5)
        gateways.register(first)
        assert refusal(gateways, gateway(epoch=epoch)) is Refusal.STALE
        assert gateways.get("agent") is first and not first.link.closed


class TestAnotherAgent:
    @pytest.mark.parametrize("instance", [OTHER, b""], ids=["ours", "of protocol 0.1"])
    @pytest.mark.parametrize("holder", [ME, b""], ids=["holder is ours", "holder of protocol 0.1"])
    def test_is_refused_while_the_holder_lives(self, gateways: Gateways, holder: bytes, instance: bytes) -> None:
        first = gateway(holder)
        gateways.register(first)
        assert refusal(gateways, gateway(instance, epoch=99)) is Refusal.NAME_TAKEN
        assert gateways.get("agent") is first and not first.link.closed
        assert first.link.probes == [0.25]  # type: ignore[attr-defined]

    @pytest.mark.parametrize("instance", [OTHER, b""], ids=["ours", "of protocol 0.1"])
    @pytest.mark.parametrize("holder", [ME, b""], ids=["holder is ours", "holder of protocol 0.1"])
    def test_gets_the_name_of_a_silent_holder(self, gateways: Gateways, holder: bytes, instance: bytes) -> None:
        first, newcomer = gateway(holder, alive=False), gateway(instance)
        gateways.register(first)
        gateways.register(newcomer)
        assert gateways.get("agent") is newcomer
        assert first.link.closed and "no answer to a ping within 0.25 s" in first.link.why

    def test_of_two_that_ask_for_a_silent_holders_name_one_gets_it(self, gateways: Gateways) -> None:
        holder, second, third = gateway(alive=False), gateway(OTHER), gateway(b"third" * 3 + b"!")
        gateways.register(holder)
        holder.link.found.clear()  # type: ignore[attr-defined]
        asking = [gevent.spawn(gateways.register, each) for each in (second, third)]
        assert holder.link.probed.wait(PATIENCE)  # type: ignore[attr-defined]
        holder.link.found.set()  # type: ignore[attr-defined]
        gevent.joinall(asking, timeout=PATIENCE)
        assert [greenlet.successful() for greenlet in asking] == [True, False]
        assert asking[1].exception.code is Refusal.NAME_TAKEN
        assert gateways.get("agent") is second

    def test_of_a_stranger_and_a_return_during_the_probe_one_gets_it(self, gateways: Gateways) -> None:
        holder, stranger, returned = gateway(alive=False, epoch=1), gateway(OTHER), gateway(epoch=2)
        gateways.register(holder)
        holder.link.found.clear()  # type: ignore[attr-defined]
        asking = gevent.spawn(gateways.register, stranger)
        assert holder.link.probed.wait(PATIENCE)  # type: ignore[attr-defined]
        returning = gevent.spawn(gateways.register, returned)
        gevent.idle()
        holder.link.found.set()  # type: ignore[attr-defined]
        gevent.joinall([asking, returning], timeout=PATIENCE)
        assert asking.successful() != returning.successful()
        assert gateways.get("agent") is (stranger if asking.successful() else returned)


class TestOverLinks:
    """The same with a proxy, and links that ping."""

    def test_our_return_is_answered_and_the_old_link_ended(self, proxy: Proxy) -> None:
        old = agent(proxy, "agent", instance=ME, epoch=1)
        new = agent(proxy, "agent", instance=ME, epoch=2)
        assert old.wait_end()
        assert new.nothing_more() == []
        assert len(proxy.gateways) == 1

    @pytest.mark.parametrize("legacy", [False, True])
    def test_a_living_holder_is_kept(self, proxy: Proxy, legacy: bool, caplog: pytest.LogCaptureFixture) -> None:
        holder = legacy_agent(proxy, "agent") if legacy else agent(proxy, "agent")
        thief, ack = introduced(proxy, our_hello("agent"))
        assert (ack.ok, ack.code) == (False, Refusal.NAME_TAKEN)
        assert "taken" in ack.message
        assert thief.wait_end() == "refused"
        assert 'gateway "agent" from 192.0.2.1 refused: the name agent is taken' in caplog.text
        assert holder.nothing_more() == []

    def test_a_silent_one_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Gateways.__init__, "__kwdefaults__", {"probe_timeout": 0.2})
        proxy = Proxy("127.0.0.1:0")
        proxy.start()
        holder = legacy_agent(proxy, "agent")
        holder.freeze()
        gateway = proxy.gateways.get("agent")
        assert gateway is not None
        poll(lambda: not gateway.link.probe(0.05), PATIENCE, "the last answer of the holder has come")
        newcomer = Speaker(proxy)
        newcomer.say(our_hello("agent"))
        assert newcomer.hear(Ack).ok
        holder.thaw()
        assert holder.wait_end()
        assert newcomer.nothing_more() == []
        proxy.stop()
