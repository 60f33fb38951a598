"""The Python side of one run of a script: the functions that sandbox.lua calls, and the limits that they enforce."""

from __future__ import annotations

import gc
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from gevent import monkey
from gevent.pool import Group

from hubble.policy.lua import jsontext
from hubble.policy.lua.bytecode import BytecodeError, rewritten
from hubble.policy.lua.http import HttpClient, HttpFailure, HttpRequest, parse_duration
from hubble.policy.lua.limits import Limits
from hubble.policy.lua.shared import LineAllowance, MemoryPool
from hubble.policy.request import printable

logger = logging.getLogger("hubble.policy.lua")

BATCH = 150  # values in one result of `feed`, as in sandbox.lua: 50 steps of three values
SLICE = 0.002  # seconds of computing before other greenlets run
LINE = 1000  # characters of a log line
FIELDS = 200  # headers and cookies of one request
FIELD_BYTES = 256 * 1024  # of their names and values
OFFLINE = "the script sends an HTTP request"  # stops a run that must not
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)

P = ParamSpec("P")
R = TypeVar("R")


class Runtime(Protocol):
    """The methods of lupa.LuaRuntime that the host needs."""

    def set_max_memory(self, max_memory: int) -> None:
        """Set the number of bytes that Lua may use; 0 means no limit."""

    def get_memory_used(self) -> int:
        """Return the number of bytes that Lua uses."""


_collected: defaultdict[int, float] = defaultdict(float)  # CPU seconds, by thread
_thread_id = monkey.get_original("_thread", "get_ident")


def _on_collection(phase: str, _info: dict[str, int]) -> None:
    change = time.thread_time()
    _collected[_thread_id()] += change if phase == "stop" else -change


gc.callbacks.append(_on_collection)


def _cpu() -> float:
    """Return the CPU seconds of this thread, without Python's garbage collection.

    The garbage belongs to the whole process, and a full collection can take as long as a script may.
    """
    return time.thread_time() - _collected[_thread_id()]


class Meter:
    """Measures the CPU time of this thread while it runs. Call `pause` before each switch to another greenlet."""

    def __init__(self) -> None:
        self._used = 0.0
        self._since: float | None = None

    def resume(self) -> None:
        if self._since is None:
            self._since = _cpu()

    def pause(self) -> None:
        if self._since is not None:
            self._used += _cpu() - self._since
            self._since = None

    def used(self) -> float:
        return self._used + (0.0 if self._since is None else _cpu() - self._since)


def _crossing(
    method: Callable[Concatenate[Host, P], R],
) -> Callable[Concatenate[Host, P], R | None]:
    """Wrap a method that Lua calls. An exception stops the run and never reaches Lua, where a script could catch it.

    The memory limit is off until Lua calls `enter`. lupa pushes results outside Lua's protected mode, where a failed
    allocation would leave Python's frames by a long jump.
    """

    def call(self: Host, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        self.lift_memory_limit()
        try:
            return method(self, *args, **kwargs)
        except BaseException as error:  # also GreenletExit: raised again after Lua has unwound
            self.stop(f"{type(error).__name__} in {method.__name__}", error)
            return None

    return call


class Host:
    """Serves one run. The methods that Lua calls take and return only scalars; texts are bytes.

    stopped: the reason why the run was stopped, or None. failure: its exception, to be raised after Lua has returned.
    """

    def __init__(
        self,
        limits: Limits,
        client: HttpClient,
        facts: Mapping[str, object],
        *,
        label: str,
        deadline: float,
        hide: Callable[[str], str],
        rest: Callable[[], None],
        memory: MemoryPool,
        lines: LineAllowance,
        offline: bool = False,
    ) -> None:
        """label: the script's name in the log. deadline: by time.monotonic. hide: removes secrets from a text.

        rest: returns after other greenlets ran. memory, lines: shared by all runs.
        offline: an HTTP request stops the run, and nothing is logged (for the check at the start).
        """
        self.stopped: str | None = None
        self.failure: BaseException | None = None
        self._limits = limits
        self._client = client
        self._label = label
        self._deadline = deadline
        self._hide = hide
        self._rest = rest
        self._offline = offline
        self._meter = Meter()
        self._look_at = 0.0
        self._feed: Iterator[jsontext.Scalar] = jsontext.flatten(facts)
        self._staged: list[HttpRequest] = []
        self._lines = 0
        self._runtime: Runtime | None = None
        self._memory = memory
        self._held = 0  # bytes reported to the pool
        self._log_allowance = lines

    def attach(self, runtime: Runtime | None) -> None:
        """Set the runtime whose memory is limited. Set None after the run, to break the reference cycle."""
        self._runtime = runtime
        if runtime is None:
            self._hold(0)

    def stop(self, why: str, failure: BaseException | None = None) -> None:
        """Stop the run at Lua's next check. The first reason is kept."""
        if self.stopped is None:
            self.stopped, self.failure = why, failure

    def lift_memory_limit(self) -> None:
        if self._runtime is not None:
            self._runtime.set_max_memory(0)
            self._hold(self._runtime.get_memory_used())

    def _hold(self, size: int) -> None:
        self._memory.change(self._held, size)
        self._held = size

    def _limit_memory(self) -> None:
        if self._runtime is not None:
            self._hold(self._runtime.get_memory_used())
            self._runtime.set_max_memory(self._memory.allowance(self._held, self._limits.memory))

    # Called by Lua. ------------------------------------------------------------------------------------------------

    def enter(self) -> bool:
        """Continue in Lua, with the clock running and memory limited. Return whether the run is stopped."""
        self._limit_memory()
        self._meter.resume()
        return self.stopped is not None

    def tick(self) -> bool:
        """Check the limits, and yield if it is time. Return whether the run is stopped."""
        if self.stopped is not None:
            return True
        now = time.monotonic()
        if now >= self._look_at:
            self._look(now)
        return self.stopped is not None

    def _look(self, now: float) -> None:
        left = self._limits.cpu - self._meter.used()
        if left <= 0:
            self.stop(f"the script used more than {self._limits.cpu * 1000:g} ms of CPU")
        elif now >= self._deadline:
            self.stop(self._too_long())
        elif self._look_at > 0:
            self._let_others_run()
        self._look_at = time.monotonic() + min(SLICE, left)

    def _let_others_run(self) -> None:
        self._meter.pause()
        self._limit_memory()  # account for this run before others take from the pool
        try:
            self._rest()
        except BaseException as error:  # as in _crossing
            self.stop(f"{type(error).__name__} while computing", error)
        self._limit_memory()
        self._meter.resume()

    def _too_long(self) -> str:
        return f"the script took longer than {self._limits.total:g} s"

    @_crossing
    def feed(self) -> tuple[jsontext.Scalar, ...]:
        """Return the next values of the table that Lua is building. Fewer than BATCH values are the last."""
        return tuple(islice(self._feed, BATCH))

    @_crossing
    def log(self, level: int, line: bytes) -> None:
        """Log a line. The level counts from 1."""
        number = LEVELS[int(level) - 1]
        self._lines += 1
        if self._offline or self._lines > self._limits.log_lines or not logger.isEnabledFor(number):
            return
        if not self._log_allowance.take():
            return
        text = self._hide(line[: LINE * 4].decode("utf-8", "replace")[:LINE])
        logger.log(number, "%s: %s", self._label, printable(text))

    @_crossing
    def rewrite(self, code: bytes) -> tuple[bytes | None, bytes | None]:
        """Rewrite compiled code so that it is safe to run. Return it, or None and the fault."""
        try:
            return rewritten(code), None
        except BytecodeError as error:
            return None, str(error).encode()

    @_crossing
    def decode(self, text: bytes) -> bytes | None:
        """Parse JSON for `feed`. Return the fault, or None."""
        if len(text) > self._limits.body:
            return b"JSON of more than %d bytes" % self._limits.body
        try:
            self._feed = jsontext.flatten(jsontext.decode(text))
        except ValueError as error:
            return jsontext.to_bytes(str(error))
        return None

    @_crossing
    def quote(self, text: bytes) -> bytes:
        return jsontext.quote(text)

    @_crossing
    def number(self, value: float) -> bytes:
        return jsontext.number(value)

    @_crossing
    def stage(self, method: bytes, url: bytes, *options: Any) -> bytes | None:
        """Keep a request for `send`. Return its fault, or None. The options are as in http.lua."""
        if self._offline:
            self.stop(OFFLINE)
            return None
        if len(self._staged) >= self._limits.batch:
            return b"more than %d requests in a batch" % self._limits.batch
        try:
            self._staged.append(staged_request(method, url, *options))
        except ValueError as error:
            return jsontext.to_bytes(str(error))
        return None

    @_crossing
    def send(self) -> None:
        """Send the staged requests, all at once. `feed` then returns the answers in their order."""
        staged, self._staged = self._staged, []
        self._meter.pause()
        self._rest()
        if len(staged) == 1:
            answers = [self._answer(staged[0])]
        else:
            group = Group()
            try:
                tasks = [group.spawn(self._answer, request) for request in staged]
                answers = [task.get() for task in tasks]
            finally:
                group.kill()
        if time.monotonic() >= self._deadline:
            self.stop(self._too_long())
        self._feed = jsontext.flatten(answers)

    def _answer(self, request: HttpRequest) -> dict[str, object]:
        try:
            return {"response": self._client.fetch(request, self._deadline - time.monotonic())}
        except HttpFailure as failure:
            return {"wrong": str(failure)}


def staged_request(
    method: bytes,
    url: bytes,
    query: bytes | None,
    body: bytes | None,
    form: bool,
    timeout: bytes | float | None,
    user: bytes | None,
    password: bytes | None,
    header_count: int,
    *fields: bytes,
) -> HttpRequest:
    """Make a request from http.lua's arguments. `fields` are names and values of headers, then of cookies.

    Raises ValueError.
    """
    words = [field.decode("latin-1") for field in fields]
    if len(words) > 2 * FIELDS or sum(map(len, words)) > FIELD_BYTES:
        raise ValueError(
            f"the request has more than {FIELDS} headers and cookies, or more than {FIELD_BYTES} bytes of them"
        )
    pairs = list(zip(words[::2], words[1::2], strict=True))
    if user is not None and b":" in user:
        raise ValueError("the user in auth must not contain ':'")
    return HttpRequest(
        method=method.decode("latin-1"),
        url=url.decode("latin-1"),
        query=None if query is None else query.decode("latin-1"),
        body=body,
        form=form,
        headers=pairs[: int(header_count)],
        cookies=pairs[int(header_count) :],
        timeout=parse_duration(timeout.decode("utf-8", "replace")) if isinstance(timeout, bytes) else timeout,
        auth=None if user is None or password is None else (user.decode("latin-1"), password.decode("latin-1")),
    )
