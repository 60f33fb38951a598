"""The WSGI application: a WebSocket is a link; other requests get a short plain-text response."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hubble.transport.link import Link
from hubble.transport.serve.server import LINK

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
WSGIApplication = Callable[[Environ, StartResponse], Iterable[bytes]]

NOT_A_BROWSER = b"""This is a Hubble proxy: agents connect here over a WebSocket.
It serves no pages for a browser. If you expected a service here, ask the person who gave you this address.
"""


class Application:
    """Passes links, with the WSGI environment of their upgrade, to `serve`, which returns when the link has ended.

    `trouble` returns why the proxy is not ready for more agents, or "". Agents open links below `path`, where the
    proxy also answers health checks. `fallback`, if set, handles all other requests.
    """

    def __init__(
        self,
        serve: Callable[[Link, Environ], None],
        trouble: Callable[[], str] = lambda: "",
        *,
        path: str = "",
        fallback: WSGIApplication | None = None,
    ) -> None:
        self._serve = serve
        self._trouble = trouble
        self._path = path
        self._fallback = fallback

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        link = environ.pop(LINK, None)
        if link is not None:
            self._serve(link, environ)
            return []
        path = environ["PATH_INFO"]
        if path == f"{self._path}/healthz":
            return answer(start_response, environ, "200 OK", b"ok\n")
        if path == f"{self._path}/readyz":
            trouble = self._trouble()
            status = "503 Service Unavailable" if trouble else "200 OK"
            return answer(start_response, environ, status, f"{trouble or 'ok'}\n".encode())
        if self._fallback is not None:
            return self._fallback(environ, start_response)
        if not f"{path}/".startswith(f"{self._path}/"):
            return not_found(environ, start_response)
        return answer(start_response, environ, "426 Upgrade Required", NOT_A_BROWSER)


def not_found(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Respond 404, without revealing that this is a proxy."""
    return answer(start_response, environ, "404 Not Found", b"not found\n")


def answer(start_response: StartResponse, environ: Environ, status: str, body: bytes) -> Iterable[bytes]:
    """Send a complete plain-text response."""
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    if status.startswith("426"):
        headers += [("Upgrade", "websocket"), ("Connection", "Upgrade, close")]  # RFC 9110, section 15.5.22
    start_response(status, headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
