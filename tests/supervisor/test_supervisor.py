from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import gevent
import pytest
from gevent import socket

from tests.support.processes import START, Process, ProxyProcess
from tests.support.proxies import Proxies, QuickProxy, alive, files, gone, inheritable, is_listening, refused
from tests.support.waiting import poll

FOREVER = 60.0
"""Seconds for which a test does not wait."""


def pause_of(line: str) -> float:
    """The seconds of back-off that a line of the log tells of."""
    found = re.search(r"restarting it in (\d+\.\d) s", line)
    assert found, line
    return float(found[1])


def replaced(proxy: QuickProxy, times: int = 1) -> None:
    """Wait until so many workers were replaced, and the new ones serve."""
    proxy.log.wait_for("is serving", times=times, within=START)


class TestTheStart:
    def test_is_complete_once_all_workers_serve(self, proxies: Proxies) -> None:
        proxy = proxies.start(workers=3)
        assert sorted(len(proxy.noops(number)) for number in range(3)) == [1, 1, 1]
        assert len(proxy.log.matches("listening on")) == 1
        assert not proxy.log.matches("is serving")
        assert proxy.stop() == 0

    def test_fails_if_no_worker_serves(self, proxies: Proxies) -> None:
        proxy = proxies.make("unready,unready", boot=0.5)
        status, line = refused(proxy)
        assert status == 1
        assert re.fullmatch(r"worker \d \(process \d+\) hung: no heartbeat for 0.5 s", line)
        assert not proxies.runtime.exists()

    @pytest.mark.parametrize(
        ("behaviours", "said"),
        [
            ("serve,unready/serve", "hung: no heartbeat for 0.5 s"),
            ("serve,fail=the policy is broken/serve", "the policy is broken"),
            ("die/serve,serve", "exited with status 7"),
        ],
    )
    def test_succeeds_if_one_worker_serves(self, proxies: Proxies, behaviours: str, said: str) -> None:
        proxy = proxies.make(behaviours, boot=0.5)
        proxy.begin(f"{said}; restarting it in")
        proxy.log.wait_for("listening on")
        proxy.log.wait_for("is serving")
        assert proxy.stop() == 0

    @pytest.mark.parametrize(
        "behaviours, status, said",
        [
            ("fail=no policy says so", 3, r"no policy says so"),
            ("die", 1, r"worker \d \(process \d+\) exited with status 7"),
        ],
    )
    def test_ends_with_what_a_worker_says(self, proxies: Proxies, behaviours: str, status: int, said: str) -> None:
        proxy = proxies.make(behaviours)
        ended, line = refused(proxy)
        assert ended == status and re.fullmatch(said, line)
        assert not proxies.runtime.exists()

    def test_that_fails_leaves_no_process(self, proxies: Proxies) -> None:
        proxy = proxies.make("die,fail=so,die", workers=3)
        proxy.begin("hubble-proxy: ")
        assert proxy.wait() in (1, 3)  # of whichever ends first
        assert not any(alive(pid) for number in range(3) for pid in proxy.noops(number))

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    def test_can_be_broken_off(self, proxies: Proxies, signum: int) -> None:
        proxy = proxies.make("unready", end=0.2)
        proxy.begin("noop 1")
        assert proxy.stop(signum) == 0
        assert proxy.log.matches("killing 2 workers that have not ended in time")
        assert not proxy.log.matches("listening on") and not proxies.runtime.exists()

    def test_is_not_hurt_by_sighup(self, proxies: Proxies) -> None:
        proxy = proxies.make("serve,unready", end=0.1)
        proxy.begin("noop 1")
        proxy.send(signal.SIGHUP)
        proxy.told("Reload()")
        assert proxy.stop() == 0

    def test_needs_a_ports_file_that_can_be_written(self, proxies: Proxies) -> None:
        proxy = proxies.make()
        proxy.argv[proxy.argv.index("--ports-file") + 1] = "/nowhere/ports.json"
        assert refused(proxy) == (2, "the ports file /nowhere/ports.json cannot be written: No such file or directory")
        assert not proxies.runtime.exists()

    def test_continues_after_an_error_of_its_own(self, proxies: Proxies) -> None:
        """It says so, and tries again: other workers may serve meanwhile."""
        proxy = proxies.make("serve,die", broken=1)
        proxy.begin(r"an error of the supervisor: 'NoneType' object is not callable; restarting it in")
        assert proxy.stop() == 0

    def test_that_cannot_bind_leaves_nothing(self, proxies: Proxies) -> None:
        taken = proxies.start(workers=1)
        other = proxies.make()
        other.argv[other.argv.index("-listen") + 1] = f"127.0.0.1:{taken.port}"
        runtime = proxies.directory / "other"
        other.argv[other.argv.index("--runtime-dir") + 1] = str(runtime)
        assert refused(other) == (1, f"cannot listen on 127.0.0.1:{taken.port}: Address already in use")
        assert not runtime.exists()


class TestAWorker:
    def test_that_dies_is_replaced(self, proxies: Proxies) -> None:
        proxy = proxies.start()
        (victim,), (other,) = proxy.noops(0), proxy.noops(1)
        os.kill(victim, signal.SIGKILL)
        line = proxy.log.wait_for(rf"worker 0 \(process {victim}\) was killed by SIGKILL; restarting it in")
        assert pause_of(line) < 0.2
        replaced(proxy)
        assert proxy.children() == [other, proxy.noops(0)[1]]
        assert proxy.stop() == 0

    def test_that_dies_again_and_again_is_replaced_ever_later(self, proxies: Proxies) -> None:
        proxy = proxies.start(workers=1, restart_first=0.2, restart_most=0.8)
        pauses = []
        for round in range(1, 5):
            os.kill(proxy.noops(0)[-1], signal.SIGKILL)
            pauses.append(pause_of(proxy.log.wait_for("restarting it in", times=round)))
            replaced(proxy, round)
        assert pauses[0] <= 0.2 < pauses[2] <= 0.8
        assert 0.4 <= pauses[3] <= 0.8

    def test_that_was_steady_is_replaced_soon(self, proxies: Proxies) -> None:
        proxy = proxies.start(workers=1, restart_first=0.1, steady=0)
        for round in range(1, 6):
            os.kill(proxy.noops(0)[-1], signal.SIGKILL)
            assert pause_of(proxy.log.wait_for("restarting it in", times=round)) <= 0.1
            replaced(proxy, round)

    def test_that_took_long_to_fail_was_not_steady(self, proxies: Proxies) -> None:
        """Only serving counts: one that hangs at every start would be started again and again without a pause."""
        proxy = proxies.start("serve/unready", workers=1, restart_first=0.2, steady=0.3, boot=0.5)
        os.kill(proxy.noops(0)[0], signal.SIGKILL)
        proxy.log.wait_for("restarting it in", times=3, within=START)
        pauses = [pause_of(line) for line in proxy.log.matches("no heartbeat for 0.5 s")]
        assert pauses[0] >= 0.2 and pauses[1] >= 0.4

    @pytest.mark.parametrize("behaviour", ["mute", "serve"])
    def test_that_hangs_is_killed_and_replaced(self, proxies: Proxies, behaviour: str) -> None:
        """One worker never sends a heartbeat, another stops sending them."""
        proxy = proxies.start(f"{behaviour},serve", silence=1)
        (victim,) = proxy.noops(0)
        if behaviour == "serve":
            os.kill(victim, signal.SIGSTOP)
        proxy.log.wait_for(rf"worker 0 \(process {victim}\) hung: no heartbeat for 1 s; restarting it in")
        replaced(proxy)
        gone(victim)

    def test_that_talks_nonsense_is_replaced(self, proxies: Proxies) -> None:
        proxy = proxies.start("serve,junk")
        line = proxy.log.wait_for("restarting it in")
        assert "worker 1" in line and "unknown message, perhaps of another version: b'junk'; restarting it" in line
        replaced(proxy)

    def test_that_closes_its_channel_and_stays_is_replaced(self, proxies: Proxies) -> None:
        proxy = proxies.start("serve,linger", silence=1)
        victim = proxy.noops(1)[0]
        proxy.log.wait_for(rf"worker 1 \(process {victim}\) was killed by SIGKILL; restarting it")
        assert not alive(victim)

    def test_that_never_stops_talking_keeps_the_supervisor_from_nothing(self, proxies: Proxies) -> None:
        proxy = proxies.start("flood,serve")
        os.kill(proxy.noops(1)[0], signal.SIGKILL)
        replaced(proxy)
        proxy.send(signal.SIGTERM)
        proxy.told("Stop()")
        proxy.send(signal.SIGTERM)
        assert proxy.wait() == 128 + signal.SIGTERM

    def test_is_not_to_blame_for_the_supervisors_own_sleep(self, proxies: Proxies) -> None:
        """Such as that of a virtual machine, or of all at Ctrl-Z."""
        proxy = proxies.start(silence=1)
        everybody = [proxy.pid, *proxy.children()]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        gevent.sleep(1.5)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        proxy.send(signal.SIGHUP)
        proxy.told("Reload()", times=2)
        proxy.log.wait_for("reloaded")
        assert not proxy.log.matches("has hung")

    def test_leaves_no_descriptor_behind(self, proxies: Proxies) -> None:
        proxy = proxies.start(workers=1, steady=0, restart_first=0.01)
        before = files(Path(f"/proc/{proxy.pid}/fd"))
        for round in range(1, 21):
            os.kill(proxy.noops(0)[-1], signal.SIGKILL)
            replaced(proxy, round)
        poll(lambda: len(files(Path(f"/proc/{proxy.pid}/fd"))) == len(before), START, "as many descriptors as before")


class TestReload:
    def test_reaches_all_and_is_told_once(self, proxies: Proxies) -> None:
        proxy = proxies.start(workers=3)
        proxy.send(signal.SIGHUP)
        proxy.log.wait_for("reloaded")
        proxy.told("Reload()", times=3)
        assert len(proxy.log.matches("reloaded$")) == 1

    def test_tells_of_each_problem_once(self, proxies: Proxies) -> None:
        proxy = proxies.start("problem=the script is rubbish,problem=the script is rubbish,problem=no key", workers=4)
        proxy.send(signal.SIGHUP)
        proxy.log.wait_for("reload failed: the script is rubbish")
        proxy.send(signal.SIGHUP)
        proxy.log.wait_for("reload failed: the script is rubbish", times=2)
        assert len(proxy.log.matches("reload failed: no key")) == 2
        assert not proxy.log.matches("INFO +reloaded")

    def test_does_not_wait_for_a_worker_that_dies_of_it(self, proxies: Proxies) -> None:
        proxy = proxies.start("serve,ponder")
        proxy.send(signal.SIGHUP)
        proxy.told("Reload()", times=2)
        assert not proxy.log.matches("reloaded$")
        os.kill(proxy.noops(1)[0], signal.SIGKILL)
        proxy.log.wait_for("reloaded$")

    @pytest.mark.parametrize("workers", [1, 2])
    def test_does_not_wait_for_a_worker_that_does_not_run(self, proxies: Proxies, workers: int) -> None:
        proxy = proxies.start(workers=workers, restart_first=FOREVER, restart_most=FOREVER)
        os.kill(proxy.noops(0)[0], signal.SIGKILL)
        proxy.log.wait_for("restarting it in")
        proxy.send(signal.SIGHUP)
        proxy.log.wait_for("reloaded$")
        assert proxy.stop() == 0

    def test_counts_each_answer_for_its_question(self, proxies: Proxies) -> None:
        proxy = proxies.start("serve,problem=late")
        (slow,) = proxy.noops(1)
        os.kill(slow, signal.SIGSTOP)
        proxy.send(signal.SIGHUP)
        proxy.told("Reload()")
        proxy.send(signal.SIGHUP)
        proxy.told("Reload()", times=2)
        assert not proxy.log.matches("reloaded|reload failed")
        os.kill(slow, signal.SIGCONT)
        proxy.log.wait_for("reload failed: late")
        proxy.told("Reload()", times=4)
        assert proxy.stop() == 0
        assert len(proxy.log.matches("reloaded|reload failed")) == 1


class TestTheEnd:
    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    def test_comes_in_order(self, proxies: Proxies, signum: int) -> None:
        proxy = proxies.start()
        assert proxy.stop(signum) == 0
        assert len(proxy.log.matches(r"^noop \d \d+ Stop\(\)")) == 2
        assert not proxies.runtime.exists() and not is_listening(proxy.port)

    def test_is_a_drain_if_there_is_time(self, proxies: Proxies) -> None:
        proxy = proxies.start("serve", "--drain", "7")
        assert proxy.stop() == 0
        assert len(proxy.log.matches(r"^noop \d \d+ Drain\(seconds=7.0, replaced=False\)")) == 2

    def test_comes_at_once_when_it_is_asked_for_twice(self, proxies: Proxies) -> None:
        proxy = proxies.start("deaf")
        proxy.send(signal.SIGTERM)
        proxy.told("Stop()", times=2)
        assert proxy.stop() == 128 + signal.SIGTERM
        gone(proxy.noops(0)[0], proxy.noops(1)[0])

    def test_comes_in_time_whatever_workers_do(self, proxies: Proxies) -> None:
        proxy = proxies.start("deaf,serve", end=0.5)
        assert proxy.stop() == 0
        assert proxy.log.matches("killing 1 workers that have not ended in time")
        assert not proxies.runtime.exists()

    def test_comes_in_time_though_a_worker_hangs(self, proxies: Proxies) -> None:
        proxy = proxies.start(end=0.5)
        os.kill(proxy.noops(0)[0], signal.SIGSTOP)
        assert proxy.stop() == 0

    def test_may_be_an_operators_wish(self, proxies: Proxies) -> None:
        proxy = proxies.start(workers=3)
        os.kill(proxy.noops(1)[0], signal.SIGUSR1)
        assert proxy.wait() == 0
        assert len(proxy.log.matches("draining for at most 5 s: requested by an operator")) == 1
        assert len(proxy.log.matches(r"Drain\(seconds=5.0, replaced=False\)")) == 3

    def test_may_be_wished_for_twice(self, proxies: Proxies) -> None:
        proxy = proxies.start("deaf,serve", end=FOREVER)
        os.kill(proxy.noops(0)[0], signal.SIGUSR1)
        proxy.told("Drain", times=2)
        os.kill(proxy.noops(0)[0], signal.SIGUSR1)
        proxy.send(signal.SIGHUP)
        proxy.log.wait_for("reloaded")  # what it said before was heard before
        proxy.send(signal.SIGTERM)
        proxy.told("Stop()")
        assert proxy.running
        assert len(proxy.log.matches("requested by an operator")) == 1
        assert proxy.stop() == 128 + signal.SIGTERM

    def test_comes_sooner_if_a_drain_is_followed_by_a_signal(self, proxies: Proxies) -> None:
        """An operator's drain may take a minute; that the service manager asks then is no reason to kill anything."""
        proxy = proxies.start("deaf,serve", end=0.5)
        os.kill(proxy.noops(0)[0], signal.SIGUSR1)
        proxy.told("Drain", times=2)
        assert proxy.stop(within=4) == 0
        assert proxy.log.matches(r"^noop 0 \d+ Stop\(\)")

    def test_comes_while_a_worker_waits_for_its_turn(self, proxies: Proxies) -> None:
        proxy = proxies.start(restart_first=FOREVER, restart_most=FOREVER)
        os.kill(proxy.noops(1)[0], signal.SIGKILL)
        proxy.log.wait_for("restarting it in")
        assert proxy.stop() == 0

    def test_of_a_killed_supervisor_is_its_workers_end(self, proxies: Proxies) -> None:
        proxy = proxies.start()
        assert proxy.stop(signal.SIGKILL) == -9
        gone(*proxy.noops(0), *proxy.noops(1))
        assert files(proxies.runtime) == ["control.sock", "lock"]
        proxy.start()
        assert proxy.stop() == 0 and not proxies.runtime.exists()


def test_a_port_that_the_workers_of_a_killed_proxy_hold_yet_is_waited_for(proxies: Proxies) -> None:
    proxy = proxies.start()
    proxy.stop(signal.SIGKILL)
    gone(*proxy.noops(0), *proxy.noops(1))
    with socket.create_server(("127.0.0.1", proxy.port)):
        Process.start(proxy)
        poll(lambda: not (proxies.runtime / "control.sock").exists(), START, "it has begun")
        gevent.sleep(0.2)  # it would have bound by now, or given up
        assert proxy.running
    proxy.log.wait_for("listening on", times=2, within=START)
    assert proxy.stop() == 0


class TestRealWorkers:
    @pytest.fixture
    def proxy(self, proxies: Proxies) -> ProxyProcess:
        options = ("-authgrant", "--workers", "2", "--runtime-dir", str(proxies.runtime), "--admin", "127.0.0.1:0")
        proxy = ProxyProcess(proxies.directory, *options)
        proxies.add(proxy)
        return proxy

    def test_end_when_the_supervisor_is_killed(self, proxies: Proxies, proxy: ProxyProcess) -> None:
        proxy.start()
        (proxies.runtime / "blocked.json").write_text('["somebody"]')
        workers = proxy.children()
        assert [inheritable(pid) for pid in workers] == [[], []]  # what a policy starts must not keep the listener
        proxy.send(signal.SIGKILL)
        assert proxy.wait() == -9
        proxy.start()  # at once, on the same port
        gone(*workers)
        assert is_listening(proxy.port)
        before = proxy.children()
        os.killpg(proxy.pid, signal.SIGINT)  # as a terminal does
        assert proxy.wait(START) == 0
        assert not any(alive(pid) for pid in before)
        assert files(proxies.runtime) == ["blocked.json"]

    def test_that_find_their_directory_unusable_say_so_in_one_line(self, proxies: Proxies, proxy: ProxyProcess) -> None:
        proxies.runtime.mkdir(mode=0o700)
        (proxies.runtime / "slots").touch()
        status, line = refused(proxy)
        assert status == 1 and line == f"cannot start a worker: [Errno 17] File exists: '{proxies.runtime}/slots'"

    def test_may_be_interrupted_while_they_start(self, proxies: Proxies, proxy: ProxyProcess) -> None:
        Process.start(proxy)
        poll(lambda: len(proxy.children()) == 2, START, "the workers are there")
        os.killpg(proxy.pid, signal.SIGINT)
        assert proxy.wait(START) == 0
        assert "Traceback" not in proxy.log.text and "KeyboardInterrupt" not in proxy.log.text
        assert not proxies.runtime.exists()
