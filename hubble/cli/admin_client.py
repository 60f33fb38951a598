"""hubble-proxy status, gateways, sessions, kick and so on: clients of a running proxy's API."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import requests

from hubble.admin.access import Access, read_token
from hubble.base import runtimedir as runtime
from hubble.base.errors import HubbleError, UsageError
from hubble.cli.arguments import Parser, admin_address
from hubble.cli.running import run
from hubble.cli.tables import age, bytes_text, clock, event_text, millis, table
from hubble.options import admin
from hubble.transport.endpoint import endpoint

PROGRAM = "hubble-proxy"
TIMEOUT = 15.0
CLEAR = "\x1b[H\x1b[2J"

Row = dict[str, Any]


class ApiError(HubbleError):
    """The proxy's API is unreachable or refused the request."""


class Client:
    """A client of one proxy's API."""

    def __init__(self, access: Access) -> None:
        self._url = f"http://{access.address}"
        self._session = requests.Session()
        self._session.trust_env = False  # never send the token through an HTTP proxy
        self._session.headers["Authorization"] = f"Bearer {access.token}"

    def get(self, path: str, **query: Any) -> Any:
        """Return the API's answer. Raises ApiError."""
        return self._ask("GET", path, params=query)

    def post(self, path: str, body: Any) -> Any:
        """Perform an action. Return the API's answer. Raises ApiError."""
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        try:
            answer = self._session.request(method, f"{self._url}/api/{path}", timeout=TIMEOUT, **arguments)
        except requests.RequestException as error:
            raise ApiError(f"the proxy at {self._url} cannot be reached: {_reason(error)}") from error
        if answer.status_code == 401:
            raise ApiError(f"the proxy at {self._url} refused the token; check --admin-token-file")
        try:
            content = answer.json()
        except ValueError as error:
            raise ApiError(f"{self._url} is not the API of a Hubble proxy; check --admin") from error
        if not answer.ok:
            raise ApiError(content.get("error", answer.reason))
        return content


# The commands. Each returns the API's answer, and the lines that show it.


def _status(client: Client, options: Namespace) -> tuple[Any, list[str]]:
    status, workers = client.get("status"), client.get("workers")["items"]
    lines = [
        f"Hubble {status['version']}, up {age(status['started'])}",
        f"gateways   {status['gateways']}",
        f"sessions   {status['sessions_open']} open, {status['sessions_suspended']} suspended",
        f"traffic    {bytes_text(status['rate_to_exit'])}/s to exits, "
        f"{bytes_text(status['rate_to_entry'])}/s to entries",
        f"latency    {millis(status['round_trip'])} round trip, {millis(status['loop_lag'])} event loop",
        "",
        *table(
            ["node", "worker", "pid", "up", "gateways", "sessions", "memory"],
            [
                [row["node"] or "-", row["slot"], row["pid"], age(row["started"]), row["gateways"],
                 row["sessions_open"] + row["sessions_suspended"], bytes_text(row["memory"])]
                for row in workers
            ],
        ),
    ]  # fmt: skip
    return {**status, "items": workers}, lines


def _gateways(client: Client, options: Namespace) -> tuple[Any, list[str]]:
    page = client.get("gateways", **_page(options, "name"))
    rows = [
        [row["name"], row["address"], row["identity"] or "-", age(row["since"]), millis(row["round_trip"]),
         row["sessions"], row["node"] or "-"]
        for row in page["items"]
    ]  # fmt: skip
    heads = ["gateway", "address", "identity", "for", "round trip", "sessions", "node"]
    return page, [*table(heads, rows), *_more(page, options)]


def _sessions(client: Client, options: Namespace) -> tuple[Any, list[str]]:
    page = client.get("sessions", **_page(options, "since"), gateway=options.gateway or "", state=options.state or "")
    rows = [
        [row["session"], row["source"], row["gateway"], endpoint(row["host"], row["port"]), row["state"],
         age(row["since"]), bytes_text(row["bytes_to_exit"]), bytes_text(row["bytes_to_entry"]),
         bytes_text(row["rate_to_exit"] + row["rate_to_entry"]) + "/s"]
        for row in page["items"]
    ]  # fmt: skip
    heads = ["session", "from", "to", "destination", "state", "for", "to exit", "to entry", "rate"]
    return page, [*table(heads, rows), *_more(page, options)]


def _events(client: Client, options: Namespace) -> tuple[Any, list[str]]:
    found = client.get("events", limit=options.limit, kind=options.kind or "", about=options.about or "")
    found["items"].reverse()
    return found, [f"{clock(event['time'])}  {event_text(event)}" for event in found["items"]]


def _kick(client: Client, options: Namespace) -> tuple[Any, list[str]]:
    if len(options.what) == 36 and options.what.count("-") == 4 and not options.block:
        return client.post(f"sessions/{options.what}/kick", {}), [f"session {options.what} was ended"]
    done = client.post(f"gateways/{'block' if options.block else 'kick'}", {"name": options.what})
    return done, [f"gateway {options.what} {'is blocked' if options.block else 'was kicked'}"]


def _unblock(client: Client, options: Namespace) -> tuple[Any, list[str]]:
    return client.post("gateways/unblock", {"name": options.what}), [f"gateway {options.what} may register again"]


def _reload(client: Client, options: Namespace) -> tuple[Any, list[str]]:
    done = client.post("reload", {})
    if done["problems"]:
        raise ApiError("; ".join(done["problems"]))
    return done, ["reloaded"]


def _drain(client: Client, options: Namespace) -> tuple[Any, list[str]]:
    return client.post("drain", {"seconds": options.seconds}), [f"draining, for at most {options.seconds:g} s"]


Command = Callable[[Client, Namespace], tuple[Any, list[str]]]
_ACTIONS: dict[str, Command] = {
    "status": _status,
    "gateways": _gateways,
    "sessions": _sessions,
    "events": _events,
    "kick": _kick,
    "unblock": _unblock,
    "reload": _reload,
    "drain": _drain,
}


def command(name: str) -> Callable[[Sequence[str]], int]:
    """Return the main function of one of COMMANDS."""

    def main(arguments: Sequence[str]) -> int:
        options = _parser(name).parse_args(arguments)
        return run(f"{PROGRAM} {name}", lambda: _perform(name, options))

    return main


COMMANDS = {name: command(name) for name in _ACTIONS}
"""The commands, by the first argument of hubble-proxy."""


def _parser(name: str) -> Parser:
    described = admin.COMMANDS[name]
    parser = Parser(f"{PROGRAM} {name}", described.summary, described.groups)
    if described.argument:
        parser.add_argument("what", metavar=described.argument, help=argparse.SUPPRESS)
    return parser


def _perform(name: str, options: Namespace) -> None:
    client = Client(_access(options))
    while True:
        content, lines = _ACTIONS[name](client, options)
        text = json.dumps(content) if options.json else "\n".join(lines)
        watching = getattr(options, "watch", None)
        print(CLEAR + text if watching and not options.json and sys.stdout.isatty() else text, flush=True)
        if not watching:
            return
        time.sleep(watching)


def _access(options: Namespace) -> Access:
    """Return the access to the API from the options or from the proxy's runtime directory. Raises UsageError."""
    if options.admin and options.admin_token_file:
        return Access(endpoint(*admin_address(options.admin, "--admin")), read_token(Path(options.admin_token_file)))
    if options.admin and not options.runtime_dir:
        raise UsageError("--admin needs --admin-token-file, or --runtime-dir")
    directory = _runtime_dir(options)
    if not runtime.is_locked(directory) and not (directory / runtime.ADMIN).exists():
        raise UsageError(f"no proxy runs with the runtime directory {directory}")
    access = Access.read(directory)
    return Access(endpoint(*admin_address(options.admin, "--admin")), access.token) if options.admin else access


def _runtime_dir(options: Namespace) -> Path:
    """Return the runtime directory of the proxy to query. Raises UsageError."""
    given = options.runtime_dir or os.environ.get(runtime.VARIABLE)
    if given:
        return Path(given)
    found = runtime.running()
    with_api = [path for path in found if (path / runtime.ADMIN).exists()]
    if len(with_api) == 1:
        return with_api[0]
    if not found:
        raise UsageError(f"no proxy runs below {runtime.base()}; give --runtime-dir, or --admin and --admin-token-file")
    if not with_api:
        raise UsageError(f"the proxy of {_listed(found)} has no API; start it with --admin")
    raise UsageError(f"several proxies run, with {_listed(with_api)}; choose one with --runtime-dir")


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def _reason(error: requests.RequestException) -> str:
    """Return the system's error beneath the library's errors."""
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT:g} s"
    beneath: BaseException | None = error
    while beneath is not None:
        if isinstance(beneath, OSError) and beneath.errno:
            return os.strerror(beneath.errno)
        beneath = beneath.__cause__ or beneath.__context__
    return "the connection was lost"


def _page(options: Namespace, sort: str) -> Row:
    return {
        "search": options.search or "", "sort": options.sort or sort, "limit": options.limit,
        "order": "desc" if options.descending else "asc",
    }  # fmt: skip


def _more(page: Row, options: Namespace) -> list[str]:
    hidden = page["total"] - len(page["items"])
    return [f"and {hidden} more (--search, --limit)"] if hidden > 0 else []
