"""The WSGI application: a WebSocket on any path is a link; everything else is answered in a few words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hubble.transport.link import Link
from hubble.transport.server import LINK

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

NOT_A_BROWSER = b"""This is a Hubble proxy: agents connect here over a WebSocket.
There is nothing to see for a browser. If you meant to reach a service, ask whoever gave you this address.
"""


class Application:
    """Hands links, with the WSGI environment of their upgrade, to `serve`, which returns when the link has ended."""

    def __init__(self, serve: Callable[[Link, Environ], None]) -> None:
        self._serve = serve

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        link = environ.pop(LINK, None)
        if link is not None:
            self._serve(link, environ)
            return []
        if environ["PATH_INFO"] == "/healthz":
            return _answer(start_response, environ, "200 OK", b"ok\n")
        return _answer(start_response, environ, "426 Upgrade Required", NOT_A_BROWSER)


def _answer(start_response: StartResponse, environ: Environ, status: str, body: bytes) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    if status.startswith("426"):
        headers += [("Upgrade", "websocket"), ("Connection", "Upgrade, close")]  # RFC 9110, section 15.5.22
    start_response(status, headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
