"""The authorizer that runs an operator's Lua script."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import gevent
from gevent.lock import BoundedSemaphore

from hubble.base.errors import UsageError
from hubble.policy.authorizer import Authorizer
from hubble.policy.digest import without_key
from hubble.policy.lua.host import OFFLINE, SLICE, Host
from hubble.policy.lua.http import HttpClient
from hubble.policy.lua.limits import Limits
from hubble.policy.lua.runtime import Outcome, Script, ScriptError, compiled, run
from hubble.policy.lua.shared import LineAllowance, MemoryPool
from hubble.policy.request import ConnectionRequest, Decision, RegistrationRequest, denied, failed, granted, printable
from hubble.policy.watched import WatchedFile

logger = logging.getLogger("hubble.policy")


class Pacer:
    """Lets runs that are about to compute share SLICE seconds of the event loop, and makes the others wait for more.

    Otherwise hundreds of authorizations that start together would delay everything else until the last one has started.
    """

    def __init__(self) -> None:
        self._one = BoundedSemaphore(1)
        self._began = 0.0

    def take(self) -> None:
        with self._one:
            if time.monotonic() - self._began >= SLICE:
                # Above the priority of sockets, so that a busy loop does not delay it.
                gevent.idle(priority=1)
                self._began = time.monotonic()


class LuaPolicy(Authorizer):
    """Calls the functions `connect`, `register`, `resume` and `event` of a script, each time in a fresh runtime.

    Without `register` every agent may register; without `resume`, `connect` decides. docs/policy.md describes the
    scripts. Raises PatchingMissing, and UsageError with file, line and message for a script that does not load.

    unsafe: scripts reach files, processes and Python. ca_file: further certificates that the module http trusts.
    """

    def __init__(
        self, path: Path | str, limits: Limits | None = None, *, unsafe: bool = False, ca_file: str | None = None
    ) -> None:
        self._path = Path(path)
        self._limits = limits or Limits()
        self._unsafe = unsafe
        self._client = HttpClient(self._limits.body, ca_file)
        self._slots = BoundedSemaphore(self._limits.concurrency)
        self._pacer = Pacer()
        self._memory = MemoryPool(self._limits.total_memory)
        self._log_allowance = LineAllowance(self._limits.log_rate)
        self._script = Script(b"", "", b"")
        self._file = WatchedFile(self._path, "authorization script", self._load)

    def connect(self, request: ConnectionRequest) -> Decision:
        outcome = self._run("connect", _connection_facts(request), request.key)
        if outcome.state == "absent":
            return failed("No function 'connect' in Lua module.")
        return _decision("connect", outcome, request.key)

    def resume(self, request: ConnectionRequest) -> Decision:
        if not self._script.mentions("resume"):
            return self.connect(request)
        outcome = self._run("resume", _connection_facts(request), request.key)
        return self.connect(request) if outcome.state == "absent" else _decision("resume", outcome, request.key)

    def register(self, request: RegistrationRequest) -> Decision:
        # A script without the word was written for the original: it is not run, and so cannot fail.
        if not self._script.mentions("register"):
            return granted()
        outcome = self._run("register", _registration_facts(request), request.key)
        return granted() if outcome.state == "absent" else _decision("register", outcome, request.key)

    def event(self, event: Mapping[str, object]) -> None:
        if not self._script.mentions("event"):
            return
        outcome = self._run("event", event, "")
        if outcome.state == "error":
            logger.error("authorization script %s: event: %s", self._path, printable(outcome.message))

    def reload(self) -> None:
        self._file.reload()

    def reload_if_changed(self) -> bool:
        return self._file.reload_if_changed()

    def _load(self, source: bytes) -> None:
        try:
            script = compiled(source, self._path.name)
            self._try_out(script)
        except ScriptError as error:
            text = str(error).removeprefix(f"{self._path.name}:")
            raise UsageError(f"authorization script {self._path}:{text}") from error
        self._script = script

    def _try_out(self, script: Script) -> None:
        """Run the file, but not its functions. At the first HTTP request, the check ends successfully."""
        host = self._host(script, {}, "", offline=True)
        outcome = run(script, "", host, self._limits.memory, unsafe=self._unsafe)
        if host.stopped == OFFLINE:
            return
        if host.stopped is not None or outcome.state == "error":
            raise ScriptError(host.stopped or outcome.message)
        if not outcome.allowed:
            logger.warning("authorization script %s has no function 'connect' and denies every session", self._path)

    def _host(self, script: Script, facts: Mapping[str, object], key: str, *, offline: bool = False) -> Host:
        return Host(
            self._limits,
            self._client,
            facts,
            label=script.name,
            deadline=time.monotonic() + self._limits.total,
            hide=functools.partial(without_key, key=key),
            rest=self._pacer.take,
            memory=self._memory,
            lines=self._log_allowance,
            offline=offline,
        )

    def _run(self, wanted: str, facts: Mapping[str, object], key: str) -> Outcome:
        host = self._host(self._script, facts, key)
        if not self._slots.acquire(timeout=self._limits.total):
            return Outcome("error", message=f"more than {self._limits.concurrency} authorizations run at once")
        try:
            self._pacer.take()
            outcome = run(self._script, wanted, host, self._limits.memory, unsafe=self._unsafe)
        finally:
            self._slots.release()
        if host.failure is not None:
            raise host.failure
        if host.stopped is not None:
            return Outcome("error", message=host.stopped)
        return outcome


LUA_NAMES = {"host": "ip", "gateway": "gatename"}
"""The original's names of these facts."""


def _connection_facts(request: ConnectionRequest) -> dict[str, object]:
    """Return the results of the request's methods, by name."""
    return {LUA_NAMES.get(name, name): getattr(request, name) for name in _FIELDS}


_FIELDS = tuple(field.name for field in fields(ConnectionRequest))


def _registration_facts(request: RegistrationRequest) -> dict[str, object]:
    return {
        "name": request.name,
        "key": request.key,
        "address": request.address,
        "certificate_subject": request.certificate_subject,
        "headers": {name.lower(): value for name, value in request.headers.items()},
    }


def _decision(function: str, outcome: Outcome, key: str) -> Decision:
    if outcome.state == "kind":
        return failed(f"Function '{function}' does not return a boolean.")
    if outcome.state != "done":
        return failed(without_key(outcome.message, key))
    seconds = outcome.cache if math.isfinite(outcome.cache) else 0.0
    detail = without_key(outcome.detail, key)
    if outcome.allowed:
        return granted(detail, cache_seconds=seconds, identity=outcome.identity)
    return denied(detail, cache_seconds=seconds)
