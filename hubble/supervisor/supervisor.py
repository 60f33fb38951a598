"""Keeps a number of workers running until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubble.base.backoff import Backoff
from hubble.base.errors import HubbleError, ProtocolError
from hubble.supervisor.channel import Drain, Failed, Message, Ready, Reload, Reloaded, Start, Stop
from hubble.supervisor.load import ABSENT, LoadTable
from hubble.supervisor.process import Program, WorkerProcess, how
from hubble.supervisor.takeover import Handover, Offer

log = logging.getLogger(__name__)

TO_END = (signal.SIGTERM, signal.SIGINT)
RESTORE_INTERVAL = 1.0
"""Seconds between looks at whether the runtime directory is whole."""
TAKEOVER_DRAIN = 30.0
"""Seconds in which the agents of a proxy that was taken over may move, unless the operator says otherwise."""


class BootError(HubbleError):
    """A worker cannot start: the text says why, `status` is the exit status that the user should see."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits, in seconds.

    boot: for a worker to serve. silence: for the heartbeat of one that does, and for the end of one that has said its
    last. end: beyond what a drain may take, for one that was told to end. steady: of serving, after which a worker that
    dies was not doomed from the start.
    """

    boot: float = 60.0
    silence: float = 10.0
    end: float = 15.0
    steady: float = 10.0
    restart_first: float = 0.5
    restart_most: float = 30.0


class Supervisor:
    """Keeps `workers` processes of `program` on the listeners of `handover`; a successor may have those at `control`.

    drain: seconds that agents may take to move at SIGTERM; None: it ends at once, as does a drain that began without a
    signal. whole: the start fails unless every worker serves, since a predecessor goes on otherwise. SIGHUP has the
    workers reload, SIGUSR1 is passed on. A second SIGTERM or SIGINT kills them.
    """

    def __init__(
        self,
        program: Program,
        workers: int,
        handover: Handover,
        control: Path,
        *,
        drain: float | None = None,
        whole: bool = False,
        patience: Patience | None = None,
    ) -> None:
        self._program = program
        self._handover = handover
        self._control = control
        self._drain = drain
        self._whole = whole
        self._patience = patience or Patience()
        self._load = LoadTable(workers)
        admin = handover.admin_listener
        self._start = Start(
            0, workers, handover.listener.fileno(), self._load.descriptor, str(control.parent),
            admin.fileno() if admin is not None else None, handover.token, secrets.token_hex(32),
        )  # fmt: skip
        self._workers: dict[int, WorkerProcess] = {}
        self._reloading: Counter[int] = Counter()
        """How many answers to a Reload each of them owes."""
        self._problems: set[str] = set()
        self._has_served = False
        self._boot_error: BootError | None = None
        self._was_signalled = False
        self._killing: asyncio.TimerHandle | None = None

    def run(
        self, prepare: Callable[[], None], on_ready: Callable[[], None], restore: Callable[[], None] = lambda: None
    ) -> None:
        """Until it is told to end. Raises BootError, TakeoverFailed, and what `prepare` raises.

        Both are called once every worker has served, or has failed while another serves: `prepare` does what can fail
        yet, and then a predecessor goes on; `on_ready` comes when a successor may ask. `restore` is called regularly:
        it makes again what was removed from the runtime directory, and may raise OSError or HubbleError.
        """
        asyncio.run(self._run(prepare, on_ready, restore))

    async def _run(
        self, prepare: Callable[[], None], on_ready: Callable[[], None], restore: Callable[[], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._booting = set(range(self._start.workers))
        self._booted: asyncio.Future[None] = loop.create_future()
        for number in TO_END:
            loop.add_signal_handler(number, self._asked_to_end, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR1, self._pass_on, signal.SIGUSR1)
        async with _Tasks() as tasks:
            keepers = [tasks.start(self._keep(number)) for number in range(self._start.workers)]
            for keeper in keepers:
                keeper.add_done_callback(self._end_if_broken)
            ended = tasks.start(self._ending.wait())
            try:
                await asyncio.wait([self._booted, ended], return_when=asyncio.FIRST_COMPLETED)
                if self._booted.done():
                    self._booted.result()
                if not self._ending.is_set():
                    prepare()
                    async with Offer(self._control, self._handover, self._give_way) as offer:
                        on_ready()
                        await self._watch(offer, restore)
            finally:
                await self._end(keepers)

    async def _watch(self, offer: Offer, restore: Callable[[], None]) -> None:
        """Make again what was removed from the runtime directory, until the end."""
        said = ""
        while not self._ending.is_set():
            try:
                restore()
                await offer.restore()
                said = ""
            except Exception as error:  # a full disk, no descriptor: there is a next time
                if _reason(error) != said:
                    said = _reason(error)
                    log.error("the runtime directory %s cannot be made again: %s", self._control.parent, said)
            await self._unless_ending(RESTORE_INTERVAL)

    # One worker after the other, in each place.

    async def _keep(self, number: int) -> None:
        backoff = Backoff(self._patience.restart_first, self._patience.restart_most, random.random)
        while not self._ending.is_set():
            who, end = await self._work(number, backoff)
            if self._ending.is_set():
                return
            why = end.text if isinstance(end, Failed) else end
            if number in self._booting:
                error = BootError(why, end.status) if isinstance(end, Failed) else BootError(f"{who}: {why}", 1)
                self._not_booted(number, error)
                await asyncio.wait([self._booted])
                if self._booted.exception() is not None:
                    return
            pause = backoff.next_delay()
            log.error("%s: %s: another starts in %.1f s", who, why, pause)
            await self._unless_ending(pause)

    async def _work(self, number: int, backoff: Backoff) -> tuple[str, Failed | str]:
        """One worker, from start to end: its name in the log, and what it said, or what was seen, of its end."""
        try:
            worker = WorkerProcess(self._program, replace(self._start, number=number))
        except Exception as error:  # no descriptor, no memory: the next attempt may have them
            return f"worker {number}", f"it cannot be started: {_reason(error)}"
        self._workers[number] = worker
        try:
            end = await self._look_after(worker)
        except Exception as error:  # this place must be filled again, whatever went wrong here
            log.error("%s: it is killed: the supervisor failed: %s", _name(worker), _reason(error))
            worker.kill()
            end = f"the supervisor failed: {_reason(error)}"
        self._workers.pop(number, None)
        self._load.set(number, ABSENT)
        if self._reloading.pop(number, 0):
            self._tell_of_reload()
        since = worker.serves_since
        if since is not None and time.monotonic() - since > self._patience.steady:
            backoff.succeeded()
        return _name(worker), end

    async def _look_after(self, worker: WorkerProcess) -> Failed | str:
        """Until it has ended."""
        end: Failed | str = ""
        within = self._patience.boot
        try:
            while (message := await worker.receive(within)) is not None:
                within = self._patience.silence
                if isinstance(message, Failed):
                    end = message
                else:
                    self._handle(worker, message)
        except TimeoutError:
            end = f"it has hung: no sign of life for {within:g} s"
            worker.kill()
        except ProtocolError as error:
            end = str(error)
            worker.kill()
        status = await worker.ended(self._patience.silence)
        return end or how(status)

    def _not_booted(self, number: int, error: BootError) -> None:
        """A worker has failed before it served: its place is filled later, if another serves."""
        self._booting.discard(number)
        self._boot_error = self._boot_error or error
        self._settle()

    def _settle(self) -> None:
        """Each worker has served by now, or has failed once: the proxy has started if any serves."""
        if self._booted.done() or (self._booting and not (self._whole and self._boot_error)):
            return
        if self._boot_error is not None and (self._whole or not self._has_served):
            self._booted.set_exception(self._boot_error)
        else:
            self._booted.set_result(None)

    def _handle(self, worker: WorkerProcess, message: Message) -> None:
        match message:
            case Ready():
                worker.serves_since = time.monotonic()
                self._booting.discard(worker.number)
                self._has_served = True
                if self._booted.done() and not self._ending.is_set():
                    log.info("%s: it serves", _name(worker))
                self._settle()
            case Reloaded(problem):
                self._reloaded(worker.number, problem)
            case Drain(seconds) if not self._ending.is_set():
                log.info("draining, for at most %g s, as an operator has asked", seconds)
                self._begin_to_end(message)

    async def _unless_ending(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            pass

    # What is asked of all of them.

    def _reload(self) -> None:
        """One that does not run now reads everything when it starts."""
        for number, worker in self._workers.items():
            if worker.send(Reload()):
                self._reloading[number] += 1
        self._tell_of_reload()

    def _pass_on(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            worker.signal(number)

    def _reloaded(self, number: int, problem: str) -> None:
        """One worker has; if it was not asked here, it was by a signal of its own."""
        if problem:
            self._problems.add(problem)
        owed = self._reloading.pop(number, 1) - 1
        if owed:
            self._reloading[number] = owed
        self._tell_of_reload()

    def _tell_of_reload(self) -> None:
        """When all have, it is logged: one line for what was one thing."""
        if self._reloading:
            return
        for each in sorted(self._problems):
            log.error("not reloaded: %s", each)
        if not self._problems:
            log.info("reloaded")
        self._problems.clear()

    # The end.

    def _asked_to_end(self, number: signal.Signals) -> None:
        if self._was_signalled:
            for worker in self._workers.values():
                worker.kill()
            os._exit(128 + number)
        self._was_signalled = True
        if self._ending.is_set():
            self._tell_to_end(Stop())
        else:
            self._begin_to_end(Drain(self._drain) if self._drain is not None else Stop())

    def _give_way(self) -> None:
        drain = self._drain if self._drain is not None else TAKEOVER_DRAIN
        log.info("another proxy has taken over: the agents have %g s to move to it", drain)
        self._begin_to_end(Drain(drain, replaced=True))
        if self._handover.admin_listener is not None:
            self._handover.admin_listener.close()  # no worker accepts there any more

    def _end_if_broken(self, keeper: asyncio.Task[None]) -> None:
        """A mistake of ours must not leave a place empty without a word: `_end` raises it."""
        if not keeper.cancelled() and keeper.exception() is not None:
            self._begin_to_end(Stop())

    def _begin_to_end(self, last: Drain | Stop) -> None:
        if not self._ending.is_set():
            self._ending.set()  # no worker starts from now on
            self._tell_to_end(last)

    def _tell_to_end(self, last: Drain | Stop) -> None:
        """Tell the workers; those that have not ended in time will be killed."""
        for worker in self._workers.values():
            worker.send(last)
        patience = self._patience.end + (last.seconds if isinstance(last, Drain) else 0)
        if self._killing is not None:
            self._killing.cancel()
        self._killing = asyncio.get_running_loop().call_later(patience, self._kill)

    def _kill(self) -> None:
        log.error("%d workers have not ended in time: they are killed", len(self._workers))
        for worker in self._workers.values():
            worker.kill()

    async def _end(self, keepers: list[asyncio.Task[None]]) -> None:
        """Wait until all workers have ended."""
        self._begin_to_end(Stop())
        await asyncio.wait(keepers)
        assert self._killing is not None
        self._killing.cancel()
        for number in TO_END:  # the loop would leave them to end this process by force, in its last moments
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        for keeper in keepers:
            keeper.result()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__


def _name(worker: WorkerProcess) -> str:
    return f"worker {worker.number} (process {worker.pid})"


class _Tasks:
    """Tasks that end with the block."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def __aenter__(self) -> _Tasks:
        return self

    async def __aexit__(self, *failure: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
