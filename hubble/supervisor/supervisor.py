"""Keeps a number of workers running until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubble.errors import HubbleError
from hubble.protocol.backoff import Backoff
from hubble.supervisor.channel import Drain, Failed, Message, Ready, Reload, Reloaded, Start, Stop
from hubble.supervisor.load import ABSENT, LoadTable
from hubble.supervisor.process import Program, WorkerProcess, how
from hubble.supervisor.takeover import Estate, Offer

log = logging.getLogger(__name__)

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

    boot: for a worker to serve. silence: for the heartbeat of one that does. end: beyond what a drain may take, for one
    that was told to end. steady: after which a worker that dies was not doomed from the start.
    """

    boot: float = 60.0
    silence: float = 10.0
    end: float = 15.0
    steady: float = 10.0
    restart_first: float = 0.5
    restart_most: float = 30.0


class Supervisor:
    """Keeps `workers` processes of `program` on the listeners of `estate`; a successor may have those at `control`.

    drain: seconds that agents may take to move at SIGTERM; None: it ends at once. SIGHUP has the workers reload. A
    second SIGTERM or SIGINT kills them.
    """

    def __init__(
        self,
        program: Program,
        workers: int,
        estate: Estate,
        control: Path,
        *,
        drain: float | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._program = program
        self._estate = estate
        self._control = control
        self._drain = drain
        self._patience = patience or Patience()
        self._load = LoadTable(workers)
        admin = estate.admin_listener
        self._start = Start(
            0, workers, estate.listener.fileno(), self._load.descriptor, str(control.parent),
            admin.fileno() if admin is not None else None, estate.token,
        )  # fmt: skip
        self._last: Message = Stop()
        self._workers: dict[int, WorkerProcess] = {}
        self._reloading: set[int] = set()
        self._problems: set[str] = set()
        self.taken_over = False
        """Whether a successor has the listeners now, and the runtime directory with them."""

    def run(self, on_ready: Callable[[], None]) -> None:
        """Until it is told to end; `on_ready` is called once all workers serve. Raises BootError."""
        asyncio.run(self._run(on_ready))

    async def _run(self, on_ready: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._booting = set(range(self._start.workers))
        self._booted: asyncio.Future[None] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_end, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        async with _Tasks() as tasks:
            keepers = [tasks.start(self._keep(number)) for number in range(self._start.workers)]
            ended = tasks.start(self._ending.wait())
            try:
                await asyncio.wait([self._booted, ended], return_when=asyncio.FIRST_COMPLETED)
                if self._booted.done():
                    self._booted.result()
                    on_ready()
                    async with Offer(self._control, self._estate, self._give_way):
                        await ended
            finally:
                self._ending.set()
                await self._end(keepers)

    # One worker after the other, in each place.

    async def _keep(self, number: int) -> None:
        backoff = Backoff(self._patience.restart_first, self._patience.restart_most, random.random)
        while not self._ending.is_set():
            started = time.monotonic()
            worker = self._workers[number] = WorkerProcess(self._program, replace(self._start, number=number))
            failure = await self._look_after(worker)
            self._load.set(number, ABSENT)
            self._reloaded(number, "")
            if self._ending.is_set():
                return
            if number in self._booting:
                self._not_booted(failure)
                return
            if time.monotonic() - started > self._patience.steady:
                backoff.succeeded()
            pause = backoff.next_delay()
            log.error("worker %d (process %d): %s: another starts in %.1f s", number, worker.pid, failure.text, pause)
            await self._unless_ending(pause)

    async def _look_after(self, worker: WorkerProcess) -> Failed:
        """Until it has ended: why."""
        failure: Failed | None = None
        within = self._patience.boot
        try:
            while (message := await worker.receive(within)) is not None:
                within = self._patience.silence
                if isinstance(message, Failed):
                    failure = message
                else:
                    self._heed(worker, message)
        except TimeoutError:
            worker.kill()
            failure = Failed(f"it has hung: no sign of life for {within:g} s", 1)
        status = await worker.ended()
        return failure or Failed(how(status), 1)

    def _not_booted(self, failure: Failed) -> None:
        if not self._booted.done():
            self._booted.set_exception(BootError(failure.text, failure.status))

    def _heed(self, worker: WorkerProcess, message: Message) -> None:
        match message:
            case Ready():
                self._booting.discard(worker.number)
                if self._booted.done():
                    log.info("worker %d (process %d): it serves", worker.number, worker.pid)
                elif not self._booting:
                    self._booted.set_result(None)
            case Reloaded(problem):
                self._reloaded(worker.number, problem)
            case Drain(seconds):
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
        self._reloading = set(self._workers)
        for worker in self._workers.values():
            worker.send(Reload())

    def _reloaded(self, number: int, problem: str) -> None:
        """One worker has, or is gone. When all have, it is logged: one line for what was one thing."""
        if number not in self._reloading:
            return
        self._reloading.discard(number)
        if problem:
            self._problems.add(problem)
        if self._reloading:
            return
        for each in sorted(self._problems):
            log.error("not reloaded: %s", each)
        if not self._problems:
            log.info("reloaded")
        self._problems.clear()

    # The end.

    def _asked_to_end(self, number: signal.Signals) -> None:
        if self._ending.is_set():
            for worker in self._workers.values():
                worker.kill()
            os._exit(128 + number)
        self._begin_to_end(Drain(self._drain) if self._drain is not None else Stop())

    def _give_way(self) -> None:
        drain = self._drain if self._drain is not None else TAKEOVER_DRAIN
        log.info("another proxy has taken over: the agents have %g s to move to it", drain)
        self.taken_over = True
        self._begin_to_end(Drain(drain))

    def _begin_to_end(self, last: Message) -> None:
        self._last = last
        self._ending.set()

    async def _end(self, keepers: list[asyncio.Task[None]]) -> None:
        """Tell the workers, wait for them, and kill those that do not end."""
        for worker in self._workers.values():
            worker.send(self._last)
        patience = self._patience.end + (self._last.seconds if isinstance(self._last, Drain) else 0)
        _, late = await asyncio.wait(keepers, timeout=patience)
        if late:
            log.error("%d workers have not ended in time: they are killed", len(late))
            for worker in self._workers.values():
                worker.kill()
            await asyncio.wait(late)


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
