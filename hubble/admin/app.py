"""The WSGI application of the admin listener: the token, the routes, JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from hubble.admin import queries
from hubble.admin.access import is_authorized
from hubble.admin.openapi import description
from hubble.admin.queries import BadRequest
from hubble.admin.service import Admin
from hubble.admin.stream import Streams
from hubble.base.metrics import CONTENT_TYPE

log = logging.getLogger(__name__)

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

GONE = "hubble.gone"
"""The key of the WSGI environment under which stands what waits for the client to go away (stream.Gone)."""
STATUS = {
    200: "200 OK", 202: "202 Accepted", 400: "400 Bad Request", 401: "401 Unauthorized", 404: "404 Not Found",
    405: "405 Method Not Allowed", 413: "413 Content Too Large", 500: "500 Internal Server Error",
    503: "503 Service Unavailable",
}  # fmt: skip
PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/dashboard.css": ("dashboard.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("dashboard", "first", "stream", "charts", "tables", "flowmap")
    },
}
"""What needs no token: it says nothing about this proxy."""
SECURITY = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
]


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    body: Iterable[bytes]
    type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def answer(content: Any, status: int = 200, *headers: tuple[str, str]) -> Answer:
    """A response of JSON."""
    return Answer(status, [json.dumps(content).encode() + b"\n"], headers=headers)


def problem(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """A response that says what was wrong."""
    return answer({"error": text}, status, *headers)


class AdminApplication:
    """Everything on the admin listener."""

    def __init__(self, admin: Admin, token: str) -> None:
        self._admin = admin
        self._token = token
        self.streams = Streams(admin)
        self._description = description()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        result = self._answer(environ)
        headers = [("Content-Type", result.type), *SECURITY, *result.headers]
        if isinstance(result.body, list):
            headers.append(("Content-Length", str(sum(map(len, result.body)))))
        start_response(STATUS[result.status], headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else result.body

    def _answer(self, environ: Environ) -> Answer:
        try:
            return self._route(environ)
        except BadRequest as error:
            return problem(400, str(error))
        except Exception:
            log.exception("admin: %s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            return problem(500, "this has failed: the proxy's log says why")

    def _route(self, environ: Environ) -> Answer:
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        if path in PAGE:
            return self._static(environ, *PAGE[path])
        if path == "/openapi.json":
            return self._only(environ, "GET") or answer(self._description)
        if not is_authorized(environ.get("HTTP_AUTHORIZATION", ""), self._token):
            return problem(401, "the token is missing or wrong", ("WWW-Authenticate", 'Bearer realm="hubble"'))
        if path == "/metrics":
            return self._only(environ, "GET") or Answer(200, [self._admin.metrics()], CONTENT_TYPE)
        if path.startswith("/api/"):
            return self._api(environ, path.removeprefix("/api/"))
        return problem(404, "there is nothing here")

    def _static(self, environ: Environ, name: str, kind: str) -> Answer:
        return self._only(environ, "GET", "HEAD") or Answer(200, [_file(name)], kind)

    # The API.

    def _api(self, environ: Environ, path: str) -> Answer:
        method = environ["REQUEST_METHOD"]
        parts = path.split("/")
        if parts[0] == "sessions" and len(parts) in (2, 3):
            return self._session(environ, *parts[1:])
        known = {
            "GET": {
                "status": self._status, "gateways": self._gateways, "sessions": self._sessions, "events": self._events,
                "workers": self._workers, "nodes": self._nodes, "flows": self._flows, "history": self._history,
                "configuration": self._configuration, "stream": self._stream,
            },
            "POST": {
                "gateways/kick": self._kick_gateway, "gateways/block": self._block, "gateways/unblock": self._unblock,
                "reload": self._reload, "drain": self._drain,
            },
        }  # fmt: skip
        allowed = [verb for verb, paths in known.items() if path in paths]
        if not allowed:
            return problem(404, "there is nothing here")
        return self._only(environ, *allowed) or known[method][path](environ)

    def _session(self, environ: Environ, text: str, action: str = "") -> Answer:
        if action not in ("", "kick"):
            return problem(404, "there is nothing here")
        refused = self._only(environ, "POST" if action else "GET")
        if refused is not None:
            return refused
        queries.parse(environ["QUERY_STRING"], ())
        session = queries.session_id(text)
        if action:
            return _done(self._admin.kick_session(session), "no such session is open")
        found = self._admin.session(session)
        return problem(404, "no such session is open") if found is None else answer(found)

    def _status(self, environ: Environ) -> Answer:
        queries.parse(environ["QUERY_STRING"], ())
        return answer(self._admin.status())

    def _gateways(self, environ: Environ) -> Answer:
        return answer(self._admin.gateways(queries.parse(environ["QUERY_STRING"], queries.GATEWAYS)))

    def _sessions(self, environ: Environ) -> Answer:
        return answer(self._admin.sessions(queries.parse(environ["QUERY_STRING"], queries.SESSIONS)))

    def _events(self, environ: Environ) -> Answer:
        query = queries.parse(environ["QUERY_STRING"], queries.EVENTS)
        kinds = [query["kind"]] if query["kind"] else []
        return answer({"items": self._admin.events(limit=query["limit"], kinds=kinds, about=query["about"])})

    def _workers(self, environ: Environ) -> Answer:
        queries.parse(environ["QUERY_STRING"], ())
        return answer({"items": self._admin.workers()})

    def _nodes(self, environ: Environ) -> Answer:
        queries.parse(environ["QUERY_STRING"], ())
        return answer({"items": self._admin.nodes()})

    def _flows(self, environ: Environ) -> Answer:
        queries.parse(environ["QUERY_STRING"], ())
        return answer({"items": self._admin.flows()})

    def _history(self, environ: Environ) -> Answer:
        return answer({"items": self._admin.history(**queries.parse(environ["QUERY_STRING"], queries.HISTORY))})

    def _configuration(self, environ: Environ) -> Answer:
        queries.parse(environ["QUERY_STRING"], ())
        return answer(self._admin.configuration())

    def _stream(self, environ: Environ) -> Answer:
        query = queries.parse(environ["QUERY_STRING"], queries.STREAM)
        if self.streams.full:
            return problem(503, "too many pages are open already")
        return Answer(200, self.streams.follow(query, environ[GONE]), "text/event-stream")

    def _kick_gateway(self, environ: Environ) -> Answer:
        name = queries.gateway_name(_body(environ))["name"]
        return _done(self._admin.kick_gateway(name), "no such gateway is registered")

    def _block(self, environ: Environ) -> Answer:
        was_there = self._admin.block(queries.gateway_name(_body(environ))["name"], True)
        return answer({"done": True, "registered": was_there})

    def _unblock(self, environ: Environ) -> Answer:
        self._admin.block(queries.gateway_name(_body(environ))["name"], False)
        return answer({"done": True})

    def _reload(self, environ: Environ) -> Answer:
        problems = self._admin.reload()
        return answer({"done": not problems, "problems": problems})

    def _drain(self, environ: Environ) -> Answer:
        self._admin.drain(queries.drain_seconds(_body(environ)))
        return answer({"done": True}, 202)

    def _only(self, environ: Environ, *methods: str) -> Answer | None:
        """The refusal of a request whose method is none of these."""
        if environ["REQUEST_METHOD"] in methods:
            return None
        allowed = ", ".join(methods)
        return problem(405, f"only {allowed} can be done here", ("Allow", allowed))


@cache
def _file(name: str) -> bytes:
    return resources.files("hubble.admin").joinpath("dashboard", name).read_bytes()


def _done(was_there: bool, otherwise: str) -> Answer:
    return answer({"done": True}) if was_there else problem(404, otherwise)


def _body(environ: Environ) -> bytes:
    """The request's body. Raises BadRequest if it is too long, or its query is not empty."""
    queries.parse(environ["QUERY_STRING"], ())
    body: bytes = environ["wsgi.input"].read(queries.MAX_BODY + 1)
    if len(body) > queries.MAX_BODY:
        raise BadRequest(f"the body is longer than {queries.MAX_BODY} bytes")
    return body
