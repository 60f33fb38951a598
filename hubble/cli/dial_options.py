"""The options of an agent that say how it gets out to the proxy."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from hubble.base.errors import UsageError
from hubble.cli.arguments import Parser
from hubble.transport.dial.dial import DialOptions
from hubble.transport.tls import TLSOptions


def add_dial_options(parser: Parser) -> None:
    """Add them to a program's arguments."""
    parser.option("ca", metavar="FILE", help="trust the certificate authorities in FILE (PEM) for wss://")
    parser.option("cert", metavar="FILE", help="show this client certificate with its chain (PEM)")
    parser.option("cert-key", metavar="FILE", help="its key (PEM), unless that is in the same file; -key is another")
    parser.option("server-name", metavar="NAME", help="whom the proxy's certificate must name, if not the URL's host")
    parser.option("pin", action="append", metavar="sha256:HASH",
                  help="accept this public key of the proxy only; may be repeated for the next key")  # fmt: skip
    parser.switch("insecure", help="check no certificate: anybody on the way can then read along")
    parser.option("proxy", metavar="URL",
                  help="go out through this HTTP or SOCKS proxy, or none; unless given, as HTTPS_PROXY, HTTP_PROXY, "
                       "ALL_PROXY and NO_PROXY say")  # fmt: skip
    parser.option("header", action="append", metavar="'NAME: VALUE'",
                  help="one more header for a front server; @FILE takes them from a file; may be repeated")  # fmt: skip
    parser.option("host", metavar="NAME", help="the Host header, if not the URL's host")


def dial_options(options: Namespace) -> DialOptions:
    """What the options say. Raises UsageError."""
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
        raise UsageError(f"the file of headers {text[1:]} cannot be read: {error}") from error
    return [_header(line) for line in lines if line.strip()]


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise UsageError("a --header has no colon: it should look like 'Name: value'")  # it may be a secret: not shown
    return name.strip(), value.strip()
