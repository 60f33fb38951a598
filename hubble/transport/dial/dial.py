"""Dialing: from the URL of a Hubble proxy to an upgraded WebSocket for a Link.

The phases are TCP (`addresses`), the HTTP or SOCKS proxy if there is one (`outproxy`), TLS (`tls`), and the WebSocket
upgrade. Each phase has its own deadline, which slow bytes do not extend.
"""

from __future__ import annotations

import re
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.http11 import Request, Response
from websockets.uri import DELIMS, WebSocketURI

from hubble.base.errors import DialError, UsageError
from hubble.transport.addresses import Socket, connect, deadline
from hubble.transport.dial.answer import AnswerReader, NotHTTP, own_text, printable, refusal
from hubble.transport.dial.outproxy import Way, choose, connect_through
from hubble.transport.endpoint import endpoint
from hubble.transport.tls import TLSFailed, TLSOptions, client_context, start_tls
from hubble.transport.tlsfaults import explain

SCHEMES = {"ws": False, "http": False, "wss": True, "https": True}

HEADER_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
HANDSHAKE_HEADERS = {"connection", "content-length", "host", "transfer-encoding", "upgrade"}

ADVICE = {
    400: "is it the URL of a Hubble proxy?",
    401: "it requires credentials: put user:password@ before the host in the URL, or use --header",
    403: "it requires credentials, or forbids this address: see --header",
    404: "is the path in the URL right?",
    405: "is the path in the URL right?",
    421: "it does not serve this host name: see --host and --server-name",
    426: "a front server or an HTTP proxy on the path does not forward WebSocket upgrades",
    502: "the front server cannot reach the Hubble proxy behind it",
    503: "the front server cannot reach the Hubble proxy behind it, or the Hubble proxy is shutting down",
    504: "the front server cannot reach the Hubble proxy behind it",
}


class UpgradeRefused(DialError):
    """The server answered the upgrade with the status `http_status` instead of 101."""

    def __init__(self, text: str, http_status: int) -> None:
        super().__init__(text)
        self.http_status = http_status


@dataclass(frozen=True)
class Target:
    """A proxy to dial. `str()` returns its URL without password and query, for logs."""

    secure: bool
    host: str
    port: int
    path: str = "/"
    query: str = field(default="", repr=False)
    username: str | None = None
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        scheme = "wss" if self.secure else "ws"
        return f"{scheme}://{endpoint(self.host, self.port)}{self.path}"


@dataclass(frozen=True)
class DialOptions:
    """Options for dialing. Each timeout, in seconds, limits a phase as a whole.

    `proxy`: the URL of an HTTP or SOCKS proxy; None to use the environment, "" or "none" for no proxy. `headers`:
    additional headers of the upgrade request. `host`: the `Host` header, if not the URL's host. Raises `UsageError` for
    invalid headers.
    """

    connect_timeout: float = 10.0
    handshake_timeout: float = 10.0
    tls: TLSOptions = field(default_factory=TLSOptions)
    proxy: str | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    host: str | None = None

    def __post_init__(self) -> None:
        for name, value in self.headers:
            _check_header(name, value)
        if self.host is not None and not re.fullmatch(r"[\x21-\x7e]+", self.host):
            raise UsageError(f"the host {self.host!r} is not a host name")


@dataclass
class Upgraded:
    """A newly opened WebSocket. `leftover` holds the bytes of frames that were already read.

    `remote_address`: the host and port of the TCP peer, which is the HTTP or SOCKS proxy if there is one.
    """

    socket: Socket
    leftover: bytes
    remote_address: tuple[str, int]


def parse_url(url: str) -> Target:
    """Parse a URL with the scheme `ws` or `wss` (or, equivalently, `http` or `https`), a path and a query.

    A user and a password in it are sent as Basic authentication, for front servers that require it. Raises
    `UsageError`.
    """
    shown = printable(re.sub(r"//.*@", "//***@", url, flags=re.DOTALL))
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"the URL {shown!r} cannot be used: {printable(str(error))}") from None
    problem = _problem(url, parts, port)
    if problem is not None:
        raise UsageError(f"the URL {shown!r} {problem}; it should look like wss://host/path")
    secure = SCHEMES[parts.scheme]
    return Target(
        secure=secure,
        host=_ascii_host(unquote(parts.hostname or ""), shown),
        port=port or (443 if secure else 80),
        path=quote(parts.path or "/", safe=DELIMS + "%"),
        query=quote(parts.query, safe=DELIMS + "%"),
        username=None if parts.username is None else unquote(parts.username),
        password=unquote(parts.password or ""),
    )


def check_usage(target: Target, options: DialOptions) -> None:
    """Raise `UsageError` at the start for unusable files and proxy settings."""
    client_context(options.tls)
    choose(options.proxy, target.secure, target.host, target.port)


def open_websocket(target: Target, options: DialOptions | None = None) -> Upgraded:
    """Connect to `target` and upgrade.

    Redirects are not followed, because an agent must send its key only to the configured proxy. Raises `DialError`,
    one line with the failure and advice. Its subclasses `UpgradeRefused` and `outproxy.ProxyRefused` have an HTTP
    status; `tls.TLSFailed` is a failure of TLS.
    """
    options = options or DialOptions()
    try:
        sock = reach(target, options)
        try:
            remote = sock.getpeername()
            if target.secure:
                sock = secure(sock, target, options)
            leftover = upgrade(sock, target, options)
        except BaseException:
            sock.close()
            raise
    except UsageError as error:  # a file that was usable at the start: see check_usage
        raise DialError(str(error)) from error
    except OSError as error:  # reset immediately after the connection was made
        raise _lost(target, error) from error
    return Upgraded(sock, leftover, (remote[0], remote[1]))


def reach(target: Target, options: DialOptions) -> Socket:
    """Connect to the target's host, directly or through a proxy: the first phase. Raises as `open_websocket`."""
    proxy = choose(options.proxy, target.secure, target.host, target.port)
    if proxy is None:
        return connect(target.host, target.port, options.connect_timeout)
    times = (options.connect_timeout, options.handshake_timeout)
    return connect_through(Way(proxy, target.host, target.port, *times, options.tls))


def secure(sock: Socket, target: Target, options: DialOptions) -> Socket:
    """Start TLS over the connection: the second phase, for `wss`. Raises `TLSFailed`; the caller closes `sock`."""
    seconds = options.handshake_timeout
    try:
        with deadline(seconds, f"cannot connect to {target}: no TLS handshake within {seconds:g} s"):
            return start_tls(sock, target.host, options.tls)
    except TLSFailed as error:
        raise TLSFailed(f"cannot connect to {target}: TLS with the server failed: {error}") from error


def upgrade(sock: Socket, target: Target, options: DialOptions) -> bytes:
    """Perform the WebSocket handshake, the last phase. Return the bytes read past it. The caller closes `sock`.

    Raises as `open_websocket`.
    """
    seconds = options.handshake_timeout
    with deadline(seconds, f"cannot connect to {target}: no answer to the upgrade within {seconds:g} s"):
        handshake, request = _request(target, options)
        reader = AnswerReader(sock)
        try:
            # A server that refuses the client certificate closes early: read its reason if possible.
            with suppress(OSError):
                sock.sendall(request.serialize())
            response = reader.head()
        except NotHTTP as error:
            raise DialError(f"cannot connect to {target}: {_no_answer(target, error.received)}") from error
        except OSError as error:
            raise _lost(target, error) from error
        if response.status_code != 101:
            raise _refusal(target, response, reader.body(response))
        try:
            handshake.process_response(response)
        except InvalidHandshake as error:
            raise DialError(f"cannot connect to {target}: invalid answer to the upgrade: {error}") from error
        return reader.leftover


def _request(target: Target, options: DialOptions) -> tuple[ClientProtocol, Request]:
    """Return the protocol object that checks the answer, and the request with the user's headers."""
    handshake = ClientProtocol(
        WebSocketURI(
            secure=target.secure,
            host=target.host.partition("%")[0],  # a zone is local to this machine (RFC 6874, section 4)
            port=target.port,
            path=target.path,
            query=target.query,
            username=target.username,
            password=target.password,
        )
    )
    request = handshake.connect()
    if options.host is not None:
        del request.headers["Host"]
        request.headers["Host"] = options.host
    for name, value in options.headers:
        request.headers[name] = value
    return handshake, request


def _refusal(target: Target, response: Response, body: bytes) -> UpgradeRefused:
    status, location = response.status_code, response.headers.get("Location")
    advice = ADVICE.get(status, "")
    if not target.secure and "HTTPS" in own_text(body):  # the answer of nginx and Go servers on a TLS port
        advice = "it speaks TLS: use wss://"
    if location is not None and 300 <= status < 400:
        advice = f"it redirects to {printable(location)}: if that is right, use that URL"
    reason = refusal(response, body, advice)
    return UpgradeRefused(f"cannot connect to {target}: the server refused the upgrade: {reason}", status)


def _lost(target: Target, error: OSError) -> DialError:
    if isinstance(error, ssl.SSLError):
        return TLSFailed(f"cannot connect to {target}: TLS with the server failed: {explain(error)}")
    advice = "does it require a client certificate (--cert)?" if target.secure else "if it speaks TLS, use wss://"
    return DialError(f"cannot connect to {target}: the server closed the connection: {explain(error)}: {advice}")


def _no_answer(target: Target, received: bytes) -> str:
    if received[:1] in (b"\x15", b"\x16") and received[1:2] == b"\x03":  # a TLS alert or handshake record
        return "the server speaks TLS: use wss://"
    if received:
        return "the server does not speak HTTP: is it the URL of a Hubble proxy?"
    if target.secure:
        return "the server closed the connection without an answer"
    return "the server closed the connection without an answer: if it speaks TLS, use wss://"


def _problem(url: str, parts: SplitResult, port: int | None) -> str | None:
    """Return why a URL is invalid, as the end of a sentence, or None."""
    if re.search(r"[\x00-\x20\x7f]", url):
        return "contains a space or a control character"
    if re.search(r"[\ud800-\udfff]", url):
        return "contains bytes that are not UTF-8"
    if parts.scheme not in SCHEMES:
        return f"has the unknown scheme {parts.scheme!r}" if "://" in url else "has no scheme"
    if not parts.hostname:
        return "has no host"
    if port == 0:
        return "has the port 0"
    if parts.fragment:
        return "has a fragment (#), which has no meaning here"
    return None


def _ascii_host(host: str, shown: str) -> str:
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise UsageError(f"the URL {shown!r} has an invalid host name") from None


def _check_header(name: str, value: str) -> None:
    if not HEADER_NAME.fullmatch(name):
        raise UsageError(f"the header name {name!r} is invalid")
    if not HEADER_VALUE.fullmatch(value):
        raise UsageError(f"the value of the header {name!r} contains a character that is invalid in a header")
    if name.lower() in HANDSHAKE_HEADERS or name.lower().startswith("sec-websocket-"):
        raise UsageError(f"the header {name!r} is part of the handshake and cannot be set (for Host, use --host)")
