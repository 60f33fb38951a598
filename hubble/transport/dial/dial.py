"""Dialling: from the URL of a Hubble proxy to an upgraded WebSocket, for a Link to take over.

The phases are TCP (`addresses`), the HTTP or SOCKS proxy on the way out, if there is one (`outproxy`),
TLS (`tls`), and the WebSocket upgrade; each has a deadline of its own, which no trickle of bytes extends.
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
    401: "it wants credentials: put user:password@ before the host in the URL, or use --header",
    403: "it wants credentials, or forbids this address: see --header",
    404: "is the path in the URL right?",
    405: "is the path in the URL right?",
    421: "it does not serve this host name: see --host and --server-name",
    426: "something on the way, a front server or an HTTP proxy, does not pass WebSocket upgrades on",
    502: "the front server does not reach the Hubble proxy behind it",
    503: "the front server does not reach the Hubble proxy behind it, or that is shutting down",
    504: "the front server does not reach the Hubble proxy behind it",
}


class UpgradeRefused(DialError):
    """The server answered the upgrade with another status than 101: `http_status`."""

    def __init__(self, text: str, http_status: int) -> None:
        super().__init__(text)
        self.http_status = http_status


@dataclass(frozen=True)
class Target:
    """Where to dial. `str()` of it is the URL without password and query, fit for a log."""

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
    """How to dial. Times are in seconds, each the most that one phase may take in all.

    `proxy`: URL of an HTTP or SOCKS proxy; None for what the environment says, "" or "none" for none.
    `headers`: more headers of the upgrade request. `host`: its `Host`, where not the URL's.
    Raises `UsageError` for headers that cannot be sent.
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
            raise UsageError(f"the host {self.host!r} is no host name")


@dataclass
class Upgraded:
    """A WebSocket just opened: nothing but frames from here on, of which `leftover` has come already.

    `remote_address`: host and port of the TCP peer, which is the HTTP or SOCKS proxy if there is one.
    """

    socket: Socket
    leftover: bytes
    remote_address: tuple[str, int]


def parse_url(url: str) -> Target:
    """The target that `url` means: `ws` or `wss` (`http` and `https` say the same), with path and query.

    A user and a password in it are sent as Basic authentication, for a front server that wants them.
    Raises `UsageError`.
    """
    shown = printable(re.sub(r"//.*@", "//***@", url, flags=re.DOTALL))
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"the URL {shown!r} cannot be used: {error}") from None
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
    """Raise `UsageError` for files and proxy settings that cannot be used: better at the start than later."""
    client_context(options.tls)
    choose(options.proxy, target.secure, target.host, target.port)


def open_websocket(target: Target, options: DialOptions | None = None) -> Upgraded:
    """Connect to `target` and upgrade.

    Redirects are not followed: an agent shows its key to nobody but whom it was told to.
    Raises `DialError`, one line saying what failed and what to do. Of its subclasses `UpgradeRefused` and
    `outproxy.ProxyRefused` carry an HTTP status, and `tls.TLSFailed` says that it was TLS.
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
    except UsageError as error:  # a file that was usable at the start, see check_usage
        raise DialError(str(error)) from error
    except OSError as error:  # reset as soon as it was there
        raise _lost(target, error) from error
    return Upgraded(sock, leftover, (remote[0], remote[1]))


def reach(target: Target, options: DialOptions) -> Socket:
    """The first phase: a TCP connection to the target's host, or a tunnel to it. Raises as `open_websocket`."""
    proxy = choose(options.proxy, target.secure, target.host, target.port)
    if proxy is None:
        return connect(target.host, target.port, options.connect_timeout)
    times = (options.connect_timeout, options.handshake_timeout)
    return connect_through(Way(proxy, target.host, target.port, *times, options.tls))


def secure(sock: Socket, target: Target, options: DialOptions) -> Socket:
    """The second phase, for `wss`: TLS over the connection. Raises `TLSFailed`; the caller closes `sock`."""
    seconds = options.handshake_timeout
    try:
        with deadline(seconds, f"cannot connect to {target}: no TLS handshake within {seconds:g} s"):
            return start_tls(sock, target.host, options.tls)
    except TLSFailed as error:
        raise TLSFailed(f"cannot connect to {target}: TLS with the server failed: {error}") from error


def upgrade(sock: Socket, target: Target, options: DialOptions) -> bytes:
    """The last phase: the WebSocket handshake. Returns the bytes read past it; the caller closes `sock`.

    Raises as `open_websocket`.
    """
    seconds = options.handshake_timeout
    with deadline(seconds, f"cannot connect to {target}: no answer to the upgrade within {seconds:g} s"):
        handshake, request = _request(target, options)
        reader = AnswerReader(sock)
        try:
            # A server that refuses our certificate closes early: its reason is read, if it can be.
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
            raise DialError(f"cannot connect to {target}: a wrong answer to the upgrade: {error}") from error
        return reader.leftover


def _request(target: Target, options: DialOptions) -> tuple[ClientProtocol, Request]:
    """The machine that checks the answer, and the request to send, with the user's headers in it."""
    handshake = ClientProtocol(
        WebSocketURI(
            secure=target.secure,
            host=target.host.partition("%")[0],  # a zone is of this machine only (RFC 6874, section 4)
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
    if not target.secure and "HTTPS" in own_text(body):  # what nginx and Go's servers say on a TLS port
        advice = "it speaks TLS: use wss://"
    if location is not None and 300 <= status < 400:
        advice = f"it redirects to {printable(location)}: if that is right, use that URL"
    said = refusal(response, body, advice)
    return UpgradeRefused(f"cannot connect to {target}: the server refused the upgrade: {said}", status)


def _lost(target: Target, error: OSError) -> DialError:
    if isinstance(error, ssl.SSLError):
        return TLSFailed(f"cannot connect to {target}: TLS with the server failed: {explain(error)}")
    advice = "does it demand a client certificate (--cert)?" if target.secure else "if it speaks TLS, use wss://"
    return DialError(f"cannot connect to {target}: the server broke the connection: {explain(error)}: {advice}")


def _no_answer(target: Target, received: bytes) -> str:
    if received[:1] in (b"\x15", b"\x16") and received[1:2] == b"\x03":  # a TLS alert or handshake record
        return "the server speaks TLS: use wss://"
    if received:
        return "what answers there does not speak HTTP: is it the URL of a Hubble proxy?"
    if target.secure:
        return "the server closed the connection without an answer"
    return "the server closed the connection without an answer: if it speaks TLS, use wss://"


def _problem(url: str, parts: SplitResult, port: int | None) -> str | None:
    """What keeps a URL from being dialled, as the end of a sentence."""
    if re.search(r"[\x00-\x20\x7f]", url):
        return "holds a space or a control character"
    if re.search(r"[\ud800-\udfff]", url):
        return "holds bytes that are not UTF-8"
    if parts.scheme not in SCHEMES:
        return f"has the unknown scheme {parts.scheme!r}" if "://" in url else "has no scheme"
    if not parts.hostname:
        return "names no host"
    if port == 0:
        return "has the port 0"
    if parts.fragment:
        return "has a fragment (#), which means nothing here"
    return None


def _ascii_host(host: str, shown: str) -> str:
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise UsageError(f"the URL {shown!r} names a host that cannot be") from None


def _check_header(name: str, value: str) -> None:
    if not HEADER_NAME.fullmatch(name):
        raise UsageError(f"the header name {name!r} is not possible")
    if not HEADER_VALUE.fullmatch(value):
        raise UsageError(f"the value of the header {name!r} holds a character that a header cannot carry")
    if name.lower() in HANDSHAKE_HEADERS or name.lower().startswith("sec-websocket-"):
        raise UsageError(f"the header {name!r} belongs to the handshake itself (for Host there is --host)")
