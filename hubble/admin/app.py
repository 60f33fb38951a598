"""The WSGI application of the admin listener: token, routing, JSON."""

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
from hubble.admin.endpoints import Busy, NotFound, Request, find
from hubble.admin.live import LiveViews
from hubble.admin.openapi import description
from hubble.admin.queries import BadRequest
from hubble.admin.service import Admin
from hubble.base.metrics import CONTENT_TYPE

log = logging.getLogger(__name__)

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

DISCONNECTED = "hubble.disconnected"
"""The WSGI environment's key for the function that waits until the client disconnects (live.Disconnected)."""
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
"""Static files. They need no token, because they reveal nothing about this proxy."""
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
    """An HTTP response."""

    status: int
    body: Iterable[bytes]
    type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def answer(content: Any, status: int = 200, *headers: tuple[str, str]) -> Answer:
    """Return a JSON response."""
    return Answer(status, [json.dumps(content).encode() + b"\n"], headers=headers)


def problem(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """Return an error response."""
    return answer({"error": text}, status, *headers)


class AdminApplication:
    """The application of the admin listener."""

    def __init__(self, admin: Admin, token: str) -> None:
        self._admin = admin
        self._token = token
        self.streams = LiveViews(admin)
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
        except NotFound as error:
            return problem(404, str(error))
        except Busy as error:
            return problem(503, str(error))
        except Exception:
            log.exception("admin: %s %s failed", environ["REQUEST_METHOD"], environ["PATH_INFO"])
            return problem(500, "internal error; see the proxy's log")

    def _route(self, environ: Environ) -> Answer:
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        if path in PAGE:
            return self._static(environ, *PAGE[path])
        if path == "/openapi.json":
            return self._only(environ, "GET") or answer(self._description)
        if not is_authorized(environ.get("HTTP_AUTHORIZATION", ""), self._token):
            return problem(401, "missing or wrong token", ("WWW-Authenticate", 'Bearer realm="hubble"'))
        if path == "/metrics":
            return self._only(environ, "GET") or Answer(200, [self._admin.metrics()], CONTENT_TYPE)
        if path.startswith("/api/"):
            return self._api(environ, path)
        return problem(404, "not found")

    def _static(self, environ: Environ, name: str, kind: str) -> Answer:
        return self._only(environ, "GET", "HEAD") or Answer(200, [_file(name)], kind)

    # The API.

    def _api(self, environ: Environ, path: str) -> Answer:
        endpoints, session = find(path)
        if not endpoints:
            return problem(404, "not found")
        refused = self._only(environ, *endpoints)
        if refused is not None:
            return refused
        endpoint = endpoints[environ["REQUEST_METHOD"]]
        query = queries.parse(environ["QUERY_STRING"], endpoint.parameters)
        if endpoint.of_session:
            session = queries.session_id(session)
        body = endpoint.body.parse(_body(environ)) if endpoint.body is not None else None
        request = Request(self._admin, self.streams, query, body, session, environ[DISCONNECTED])
        result = endpoint.answer(request)
        if endpoint.result is None:
            return Answer(200, result, "text/event-stream")
        return answer(result, endpoint.status)

    def _only(self, environ: Environ, *methods: str) -> Answer | None:
        """Return the refusal of a request with another method, or None."""
        if environ["REQUEST_METHOD"] in methods:
            return None
        allowed = ", ".join(methods)
        return problem(405, f"method not allowed; use {allowed}", ("Allow", allowed))


@cache
def _file(name: str) -> bytes:
    return resources.files("hubble.admin").joinpath("dashboard", name).read_bytes()


def _body(environ: Environ) -> bytes:
    """Read the request's body. Raises BadRequest if it is too long."""
    body: bytes = environ["wsgi.input"].read(queries.MAX_BODY + 1)
    if len(body) > queries.MAX_BODY:
        raise BadRequest(f"the body is longer than {queries.MAX_BODY} bytes")
    return body
