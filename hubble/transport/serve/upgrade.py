"""The checks that a request must pass before gevent-websocket upgrades it.

The library's own answers to invalid requests are wrong in places: 402 to HTTP/1.0, 500 to a malformed key.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VERSION = "13"
"""The WebSocket version of RFC 6455, which agents use. Versions 7 and 8 do not differ in the parts used here."""
VERSIONS = (VERSION, "8", "7")
KEY_BYTES = 16
OLD_HTTP = (
    "A WebSocket needs HTTP/1.1, but this request has {version}. Behind nginx, set: proxy_http_version 1.1; "
    'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
)


@dataclass(frozen=True)
class Refusal:
    """The answer to an invalid request for a WebSocket."""

    status: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()


def is_upgrade(environ: Mapping[str, Any]) -> bool:
    """Return whether a request, given as its WSGI environment, asks for a WebSocket."""
    return environ["REQUEST_METHOD"] == "GET" and "websocket" in _tokens(environ.get("HTTP_UPGRADE", ""))


def refusal(environ: Mapping[str, Any]) -> Refusal | None:
    """Return why a request for a WebSocket (`is_upgrade`) is refused, or None if it may be upgraded."""
    version = environ["SERVER_PROTOCOL"]
    if version != "HTTP/1.1":
        return _required(OLD_HTTP.format(version=version))
    if "upgrade" not in _tokens(environ.get("HTTP_CONNECTION", "")):
        return _required("the header Connection: Upgrade is missing; a front server must forward it")
    if environ["HTTP_UPGRADE"].strip().lower() != "websocket":
        return _bad("the header Upgrade must be exactly websocket")
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") not in VERSIONS:
        offer = ("Sec-WebSocket-Version", ", ".join(VERSIONS))
        return _required(f"the header Sec-WebSocket-Version must be {VERSION}", offer)
    if not _is_key(environ.get("HTTP_SEC_WEBSOCKET_KEY", "")):
        return _bad(f"the header Sec-WebSocket-Key must be {KEY_BYTES} bytes in base64")
    if environ.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ:
        return _bad("a request for a WebSocket must not have a body")
    return None


def _bad(text: str) -> Refusal:
    return Refusal("400 Bad Request", text)


def _required(text: str, *headers: tuple[str, str]) -> Refusal:
    upgrade = (("Upgrade", "websocket"), ("Connection", "Upgrade, close"))  # RFC 9110, section 15.5.22
    return Refusal("426 Upgrade Required", text, (*upgrade, *headers))


def _tokens(value: str) -> list[str]:
    return [token.strip().lower() for token in value.split(",")]


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text.strip().encode("ascii"), validate=True)) == KEY_BYTES
    except (binascii.Error, UnicodeEncodeError):
        return False
