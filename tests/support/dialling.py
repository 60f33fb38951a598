"""Dialling a server over TLS, and what becomes of it; pins as openssl says them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hubble.base.errors import DialError
from hubble.transport.dial.dial import DialOptions, Upgraded, open_websocket, parse_url
from hubble.transport.serve.servertls import ServerTLS
from hubble.transport.tls import TLSOptions
from tests.support import programs
from tests.support.certificates import Identity
from tests.support.wsserver import HELLO, UpgradingServer, upgrading_server


@contextmanager
def tls_server(identity: Identity, **options: Any) -> Iterator[UpgradingServer]:
    with upgrading_server(ServerTLS(identity.cert, identity.key, **options)) as server:
        yield server


def dial(port: int, host: str = "localhost", **tls: Any) -> Upgraded:
    return open_websocket(parse_url(f"wss://{host}:{port}/"), DialOptions(proxy="none", tls=TLSOptions(**tls)))


def succeeds(port: int, host: str = "localhost", **tls: Any) -> None:
    upgraded = dial(port, host, **tls)
    received = upgraded.leftover
    while len(received) < len(HELLO):
        received += upgraded.socket.recv(100)
    upgraded.socket.close()
    assert received == HELLO


def failure(port: int, host: str = "localhost", **tls: Any) -> str:
    with pytest.raises(DialError) as caught:
        dial(port, host, **tls)
    text = str(caught.value)
    assert text.isprintable()
    assert "SSL" not in text and "_ssl.c" not in text
    return text


def openssl(*arguments: str, data: bytes = b"") -> bytes:
    return subprocess.run([programs.require("openssl"), *arguments], input=data, capture_output=True, check=True).stdout


def pin_by_openssl(identity: Identity, form: str = "base64") -> str:
    """As docs/connecting.md says."""
    public = openssl("x509", "-in", identity.cert, "-pubkey", "-noout")
    digest = openssl("dgst", "-sha256", "-binary", data=openssl("pkey", "-pubin", "-outform", "DER", data=public))
    return "sha256:" + (digest.hex() if form == "hex" else openssl("base64", data=digest).decode().strip())
