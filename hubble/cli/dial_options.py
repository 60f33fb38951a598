"""The options of an agent for connecting to the proxy."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from hubble.base.errors import UsageError
from hubble.transport.dial.dial import DialOptions
from hubble.transport.tls import TLSOptions


def dial_options(options: Namespace) -> DialOptions:
    """Return the dial options from the command line. Raises UsageError."""
    tls = TLSOptions(
        ca_file=options.ca,
        cert_file=options.cert,
        key_file=options.cert_key,
        server_name=options.server_name,
        pins=tuple(options.pin or ()),
        insecure=options.insecure,
    )
    headers = tuple(header for text in options.header or () for header in _headers(text))
    return DialOptions(tls=tls, proxy=options.proxy, headers=headers, host=options.host)


def _headers(text: str) -> list[tuple[str, str]]:
    if not text.startswith("@"):
        return [_header(text)]
    try:
        lines = Path(text[1:]).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the header file {text[1:]} cannot be read: {error}") from error
    return [_header(line) for line in lines if line.strip()]


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise UsageError("a --header has no colon; write 'Name: value'")  # not shown, because it may be a secret
    return name.strip(), value.strip()
