"""The way out where only a proxy leads out: HTTP CONNECT (over TCP or TLS) and SOCKS5 (RFC 1928 and 1929)."""

from __future__ import annotations

import ipaddress
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from websockets.http11 import Response

from hubble.base.errors import DialError, UsageError
from hubble.transport.addresses import Socket, connect, deadline
from hubble.transport.dial import socks
from hubble.transport.dial.answer import AnswerReader, NotHTTP, printable, refusal
from hubble.transport.dial.proxyauth import Challenge, Credentials, answer, ntlm, ntlm_is_installed, parse_challenges
from hubble.transport.endpoint import endpoint
from hubble.transport.tls import TLSOptions, outproxy_context, wrap
from hubble.transport.tlsfaults import explain

DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}

ADVICE = {
    401: "are user and password right?",
    403: "does it allow CONNECT to this host and port? Many allow port 443 only",
    404: "is it an HTTP proxy at all?",
    405: "it does not offer CONNECT",
    501: "it does not offer CONNECT",
    502: "it does not reach the host",
    503: "it does not reach the host",
    504: "it does not reach the host",
}


class ProxyRefused(DialError):
    """The proxy on the way out refused: `http_status`, or 0 if it speaks SOCKS."""

    def __init__(self, text: str, http_status: int) -> None:
        super().__init__(text)
        self.http_status = http_status


@dataclass(frozen=True)
class OutProxy:
    """An HTTP or SOCKS proxy. `str()` and `repr()` leave user and password out."""

    scheme: str
    host: str
    port: int
    credentials: Credentials | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{endpoint(self.host, self.port)}"


@dataclass(frozen=True)
class Way:
    """What one attempt to go through a proxy needs. Times in seconds."""

    proxy: OutProxy
    host: str
    port: int
    connect_timeout: float
    handshake_timeout: float
    tls: TLSOptions

    @property
    def authority(self) -> str:
        return endpoint(self.host, self.port)


def parse_outproxy(url: str) -> OutProxy:
    """The proxy that `url` means: `http`, `https`, `socks5` or `socks5h`, `http` if it has no scheme.

    User and password are percent-decoded. Both SOCKS schemes leave the name of the destination for the
    proxy to resolve: the network that needs it may not know the names outside. Raises `UsageError`.
    """
    shown = printable(re.sub(r"(//|^).*@", r"\1***@", url, flags=re.DOTALL))
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError:
        raise UsageError(f"the proxy {shown!r} has a bad host or port: it should look like http://host:port") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise UsageError(f"the proxy {shown!r} has an unknown scheme: it should be one of {', '.join(DEFAULT_PORTS)}")
    if not parts.hostname or port == 0 or re.search(r"[\x00-\x20\x7f\ud800-\udfff]", url):
        raise UsageError(f"the proxy {shown!r} cannot be one: it should look like http://host:port")
    return OutProxy(
        scheme=parts.scheme,
        host=unquote(parts.hostname),
        port=port or DEFAULT_PORTS[parts.scheme],
        credentials=_credentials(parts.username, parts.password, parts.scheme, shown),
    )


def choose(setting: str | None, secure: bool, host: str, port: int) -> OutProxy | None:
    """The proxy for a target, None for none: `setting`, or what the environment says if that is None.

    `""` and `"none"` forbid one. In the environment, as for curl: `http_proxy` for plain targets,
    `https_proxy` for those with TLS, `all_proxy` for both, `no_proxy`; on macOS and Windows the system's
    settings count too. The environment's proxy is never taken for this machine itself. Raises `UsageError`.
    """
    if setting is not None:
        return None if setting in ("", "none") else parse_outproxy(setting)
    proxies = urllib.request.getproxies()
    url = proxies.get("https" if secure else "http") or proxies.get("all")
    if url is None or _is_this_machine(host):
        return None
    if urllib.request.proxy_bypass(host) or excluded(host, port, proxies.get("no", "")):
        return None
    return parse_outproxy(url)


def excluded(host: str, port: int, no_proxy: str) -> bool:
    """Whether a `NO_PROXY` list has the host: `*`, a domain (with those in it), an address or a CIDR network.

    Entries are separated by commas or spaces; a domain may begin with `.` or `*.`, and end in `:port`.
    """
    entries = [entry.lower() for entry in re.split(r"[,\s]+", no_proxy) if entry]
    return any(entry == "*" or _matches(entry, host.lower().rstrip("."), port) for entry in entries)


def connect_through(way: Way) -> Socket:
    """A connection to the destination through the proxy, with nothing read from or sent to it yet.

    Raises `DialError`, one line with the proxy's name in it, and its own words where it said something;
    `ProxyRefused` with the status that it answered; `UsageError` for a CA file that cannot be used.
    """
    return _through_socks(way) if way.proxy.scheme.startswith("socks") else _through_http(way)


def _through_http(way: Way) -> Socket:
    """CONNECT without credentials first: which kind the proxy takes decides whether the password is shown."""
    sock, response, page = _ask(way)
    if response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and way.proxy.credentials is not None:
        sock.close()
        sock, response, page = _ask_again(way, way.proxy.credentials, response, page)
    if 200 <= response.status_code < 300:
        return sock
    sock.close()
    raise _refusal(way, response, page)


def _ask(way: Way, authorization: str | None = None) -> tuple[Socket, Response, bytes]:
    """One CONNECT on a connection of its own: the answer, and if it is a refusal, its page."""
    with _connected(way) as sock:
        return sock, *_exchange(sock, AnswerReader(sock), way, authorization)


def _ask_again(way: Way, credentials: Credentials, refused: Response, page: bytes) -> tuple[Socket, Response, bytes]:
    """The same with credentials, so that the password shows as little as the proxy's offers allow."""
    offered = parse_challenges(refused.headers.get_all("Proxy-Authenticate"))
    schemes = {challenge.scheme for challenge in offered}
    authorization = answer(offered, credentials, way.authority)
    if "ntlm" in schemes and (authorization is None or ("digest" not in schemes and ntlm_is_installed())):
        return _ask_ntlm(way, credentials)
    if authorization is not None:
        return _ask(way, authorization)
    raise _refusal(way, refused, page)


def _ask_ntlm(way: Way, credentials: Credentials) -> tuple[Socket, Response, bytes]:
    """The CONNECTs of an NTLM exchange, on one connection, which is what NTLM authenticates."""
    with _connected(way) as sock:
        reader = AnswerReader(sock)

        def ask(authorization: str) -> list[Challenge]:
            response, _ = _exchange(sock, reader, way, authorization)
            return parse_challenges(response.headers.get_all("Proxy-Authenticate"))

        authorization = ntlm(credentials, way.proxy.host, ask)
        return sock, *_exchange(sock, reader, way, authorization)


def _exchange(sock: Socket, reader: AnswerReader, way: Way, authorization: str | None) -> tuple[Response, bytes]:
    lines = [f"CONNECT {way.authority} HTTP/1.1", f"Host: {way.authority}"]
    if authorization is not None:
        lines.append(f"Proxy-Authorization: {authorization}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    response = reader.head()
    if not 200 <= response.status_code < 300:
        return response, reader.body(response)
    if reader.leftover:  # nobody has spoken to the destination yet
        raise DialError("it sent something of its own after its answer")
    return response, b""


@contextmanager
def _connected(way: Way) -> Iterator[Socket]:
    """A connection to the proxy itself, closed if the block fails; it has one deadline for the block."""
    proxy, seconds = way.proxy, way.handshake_timeout
    try:
        sock = connect(proxy.host, proxy.port, way.connect_timeout)
    except DialError as error:
        raise DialError(f"the proxy {proxy} is not reached: {error}") from error
    try:
        with (
            deadline(seconds, f"the proxy {proxy} did not answer within {seconds:g} s: is its scheme right?"),
            _blaming(proxy),
        ):
            if proxy.scheme == "https":
                sock = wrap(sock, proxy.host, outproxy_context(way.tls))
            yield sock
    except BaseException:
        sock.close()
        raise


@contextmanager
def _blaming(proxy: OutProxy) -> Iterator[None]:
    """Say of what fails in the block that it was at this proxy."""
    try:
        yield
    except NotHTTP as error:
        raise DialError(f"the proxy {proxy} {_no_answer(error.received)}") from error
    except ProxyRefused:
        raise
    except DialError as error:
        raise DialError(f"the proxy {proxy} fails: {error}") from error
    except ConnectionError as error:
        raise DialError(f"the proxy {proxy} {_no_answer(b'')}") from error
    except OSError as error:
        raise DialError(f"the proxy {proxy} fails: {explain(error)}") from error


def _no_answer(received: bytes) -> str:
    if received[:1] == b"\x15":
        return "speaks TLS: use https://"
    if received:
        return "does not speak HTTP: does it speak SOCKS (socks5://)?"
    return "closed the connection without an answer: does it speak TLS (https://) or SOCKS (socks5://)?"


def _refusal(way: Way, response: Response, body: bytes) -> ProxyRefused:
    status = response.status_code
    needs_login = status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    said = refusal(response, body, _credentials_advice(way, response) if needs_login else ADVICE.get(status, ""))
    return ProxyRefused(f"the proxy {way.proxy} refused the way to {way.authority}: {said}", status)


def _credentials_advice(way: Way, response: Response) -> str:
    if way.proxy.credentials is None:
        return f"it wants a user and password: --proxy {way.proxy.scheme}://USER:PASSWORD@HOST:PORT"
    offered = {challenge.scheme for challenge in parse_challenges(response.headers.get_all("Proxy-Authenticate"))}
    if offered and not offered & {"basic", "digest", "ntlm"}:
        return f"it takes {printable(', '.join(sorted(offered)))} only, and Hubble has Basic, Digest and NTLM"
    return "are user and password right?"


def _through_socks(way: Way) -> Socket:
    with _connected(way) as sock:
        try:
            socks.connect(sock, way.host, way.port, way.proxy.credentials)
        except socks.Refused as error:
            raise ProxyRefused(f"the proxy {way.proxy} refused the way to {way.authority}: {error}", 0) from error
        return sock


def _credentials(username: str | None, password: str | None, scheme: str, shown: str) -> Credentials | None:
    if username is None:
        return None
    credentials = Credentials(unquote(username), unquote(password or ""))
    if scheme.startswith("socks"):
        if not all(0 < len(text.encode()) <= 255 for text in credentials):
            raise UsageError(f"the proxy {shown!r} needs a user and a password, of 255 bytes at most (SOCKS)")
    elif ":" in credentials.username or not "".join(credentials).isprintable():
        raise UsageError(f"the user of the proxy {shown!r} has a colon, or a control character, in it")
    return credentials


def _is_this_machine(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _matches(entry: str, host: str, port: int) -> bool:
    with suppress(ValueError):
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
        with suppress(ValueError):
            return ipaddress.ip_address(host) in network
        return False
    name, _, entry_port = entry.partition(":")
    name = name.removeprefix("*").strip(".")
    return entry_port in ("", str(port)) and (host == name or host.endswith(f".{name}"))
