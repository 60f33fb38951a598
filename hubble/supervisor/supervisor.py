"""Keeps a number of workers running until the proxy stops."""

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
"""Seconds between two checks whether the runtime directory is complete."""
TAKEOVER_DRAIN = 30.0
"""Seconds that the agents of a replaced proxy have to move, unless --drain sets another time."""


class BootError(HubbleError):
    """A worker cannot start; the text gives the reason, `status` is the exit status for the user."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Patience:
    """The time limits of the supervisor, in seconds.

    boot: until a new worker serves. silence: between heartbeats, and from the end of the channel to the end of the
    process. end: until a worker that was asked to end has ended, in addition to the time of a drain. steady: a worker
    that has served this long resets the backoff of its restarts. restart_first, restart_most: the shortest and longest
    pause before a restart.
    """

    boot: float = 60.0
    silence: float = 10.0
    end: float = 15.0
    steady: float = 10.0
    restart_first: float = 0.5
    restart_most: float = 30.0


class Supervisor:
    """Keeps `workers` processes of `program` on the listeners of `handover`; a successor gets these at `control`.

    drain: seconds that agents have to move after SIGTERM; None: no drain. whole: the start fails unless every worker
    serves; the predecessor then continues. SIGHUP reloads the workers, SIGUSR1 is forwarded to them. SIGTERM during a
    drain that began without a signal ends it at once. A second SIGTERM or SIGINT kills the workers.
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
        """The number of Reloaded answers that each worker still owes."""
        self._problems: set[str] = set()
        self._has_served = False
        self._boot_error: BootError | None = None
        self._was_signalled = False
        self._killing: asyncio.TimerHandle | None = None

    def run(
        self, prepare: Callable[[], None], on_ready: Callable[[], None], restore: Callable[[], None] = lambda: None
    ) -> None:
        """Run until the proxy stops. Raises BootError, TakeoverFailed, and the exceptions of `prepare`.

        prepare: called once every worker serves, or has failed while another serves; if it raises, the start fails and
        a predecessor continues. on_ready: called after that, once a successor can connect. restore: called regularly
        to recreate removed files of the runtime directory; may raise OSError or HubbleError.
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
            loop.add_signal_handler(number, self._on_end_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR1, self._forward_signal, signal.SIGUSR1)
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
                    async with Offer(self._control, self._handover, self._on_taken_over) as offer:
                        on_ready()
                        await self._watch(offer, restore)
            finally:
                await self._end(keepers)

    async def _watch(self, offer: Offer, restore: Callable[[], None]) -> None:
        """Recreate removed files of the runtime directory until the proxy stops."""
        logged = ""
        while not self._ending.is_set():
            try:
                restore()
                await offer.restore()
                logged = ""
            except Exception as error:  # a full disk or a lack of descriptors: the next attempt may succeed
                if _reason(error) != logged:
                    logged = _reason(error)
                    log.error("cannot recreate the runtime directory %s: %s", self._control.parent, logged)
            await self._unless_ending(RESTORE_INTERVAL)

    # Starting and monitoring workers.

    async def _keep(self, number: int) -> None:
        backoff = Backoff(self._patience.restart_first, self._patience.restart_most, random.random)
        while not self._ending.is_set():
            name, end = await self._work(number, backoff)
            if self._ending.is_set():
                return
            why = end.text if isinstance(end, Failed) else end
            if number in self._booting:
                error = BootError(why, end.status) if isinstance(end, Failed) else BootError(f"{name} {why}", 1)
                self._not_booted(number, error)
                await asyncio.wait([self._booted])
                if self._booted.exception() is not None:
                    return
            pause = backoff.next_delay()
            separator = ": " if isinstance(end, Failed) else " "
            log.error("%s%s%s; restarting it in %.1f s", name, separator, why, pause)
            await self._unless_ending(pause)

    async def _work(self, number: int, backoff: Backoff) -> tuple[str, Failed | str]:
        """Run one worker from start to end; return its name for the log and how it ended.

        The end is the worker's own Failed message, or a predicate such as "was killed by SIGKILL".
        """
        try:
            worker = WorkerProcess(self._program, replace(self._start, number=number))
        except Exception as error:  # a lack of descriptors or memory: the next attempt may succeed
            return f"worker {number}", f"cannot be started: {_reason(error)}"
        self._workers[number] = worker
        try:
            end = await self._monitor(worker)
        except Exception as error:  # the worker must be replaced even after an error of the supervisor itself
            log.error("killing %s after an error of the supervisor: %s", _name(worker), _reason(error))
            worker.kill()
            end = f"was killed after an error of the supervisor: {_reason(error)}"
        self._workers.pop(number, None)
        self._load.set(number, ABSENT)
        if self._reloading.pop(number, 0):
            self._log_reload()
        since = worker.serves_since
        if since is not None and time.monotonic() - since > self._patience.steady:
            backoff.succeeded()
        return _name(worker), end

    async def _monitor(self, worker: WorkerProcess) -> Failed | str:
        """Handle a worker's messages until it has ended; kill it if it hangs."""
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
            end = f"hung: no heartbeat for {within:g} s"
            worker.kill()
        except ProtocolError as error:
            end = f"was killed: {error}"
            worker.kill()
        status = await worker.ended(self._patience.silence)
        return end or how(status)

    def _not_booted(self, number: int, error: BootError) -> None:
        """Record that a worker failed before it served. It is restarted later if another worker serves."""
        self._booting.discard(number)
        self._boot_error = self._boot_error or error
        self._settle()

    def _settle(self) -> None:
        """Finish the start once each worker has served or failed: it succeeds if any worker has served."""
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
                    log.info("%s is serving", _name(worker))
                self._settle()
            case Reloaded(problem):
                self._reloaded(worker.number, problem)
            case Drain(seconds) if not self._ending.is_set():
                log.info("draining for at most %g s: requested by an operator", seconds)
                self._begin_to_end(message)

    async def _unless_ending(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            pass

    # Reloading, and forwarding signals.

    def _reload(self) -> None:
        """Reload all workers. A worker that is not running reads all files when it starts."""
        for number, worker in self._workers.items():
            if worker.send(Reload()):
                self._reloading[number] += 1
        self._log_reload()

    def _forward_signal(self, number: signal.Signals) -> None:
        for worker in self._workers.values():
            worker.signal(number)

    def _reloaded(self, number: int, problem: str) -> None:
        """Count a worker's answer. A worker that owes none has reloaded after a signal sent directly to it."""
        if problem:
            self._problems.add(problem)
        owed = self._reloading.pop(number, 1) - 1
        if owed:
            self._reloading[number] = owed
        self._log_reload()

    def _log_reload(self) -> None:
        """Log the result once all workers have answered: one line per distinct problem, or one line in all."""
        if self._reloading:
            return
        for each in sorted(self._problems):
            log.error("reload failed: %s", each)
        if not self._problems:
            log.info("reloaded")
        self._problems.clear()

    # Stopping.

    def _on_end_signal(self, number: signal.Signals) -> None:
        if self._was_signalled:
            for worker in self._workers.values():
                worker.kill()
            os._exit(128 + number)
        self._was_signalled = True
        if self._ending.is_set():
            self._send_last(Stop())
        else:
            self._begin_to_end(Drain(self._drain) if self._drain is not None else Stop())

    def _on_taken_over(self) -> None:
        drain = self._drain if self._drain is not None else TAKEOVER_DRAIN
        log.info("another proxy has taken over; the agents have %g s to move to it", drain)
        self._begin_to_end(Drain(drain, replaced=True))
        if self._handover.admin_listener is not None:
            self._handover.admin_listener.close()  # the successor accepts there now

    def _end_if_broken(self, keeper: asyncio.Task[None]) -> None:
        """Stop the proxy after a programming error in a keeper, instead of running on without the worker.

        `_end` raises the error.
        """
        if not keeper.cancelled() and keeper.exception() is not None:
            self._begin_to_end(Stop())

    def _begin_to_end(self, last: Drain | Stop) -> None:
        if not self._ending.is_set():
            self._ending.set()  # prevents restarts
            self._send_last(last)

    def _send_last(self, last: Drain | Stop) -> None:
        """Send the workers their last message, and schedule the kill of workers that do not end in time."""
        for worker in self._workers.values():
            worker.send(last)
        patience = self._patience.end + (last.seconds if isinstance(last, Drain) else 0)
        if self._killing is not None:
            self._killing.cancel()
        self._killing = asyncio.get_running_loop().call_later(patience, self._kill)

    def _kill(self) -> None:
        log.error("killing %d workers that have not ended in time", len(self._workers))
        for worker in self._workers.values():
            worker.kill()

    async def _end(self, keepers: list[asyncio.Task[None]]) -> None:
        """Wait until all workers have ended."""
        self._begin_to_end(Stop())
        await asyncio.wait(keepers)
        assert self._killing is not None
        self._killing.cancel()
        for number in TO_END:  # without its handler, a late signal would kill this process
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        for keeper in keepers:
            keeper.result()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__


def _name(worker: WorkerProcess) -> str:
    return f"worker {worker.number} (process {worker.pid})"


class _Tasks:
    """Tasks that are cancelled at the end of the block."""

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
