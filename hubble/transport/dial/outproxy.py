"""Connect through an HTTP proxy (CONNECT over TCP or TLS) or a SOCKS5 proxy (RFC 1928 and 1929)."""

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
    405: "it does not support CONNECT",
    501: "it does not support CONNECT",
    502: "it cannot reach the host",
    503: "it cannot reach the host",
    504: "it cannot reach the host",
}


class ProxyRefused(DialError):
    """The HTTP or SOCKS proxy refused. `http_status` is 0 for a SOCKS proxy."""

    def __init__(self, text: str, http_status: int) -> None:
        super().__init__(text)
        self.http_status = http_status


@dataclass(frozen=True)
class OutProxy:
    """An HTTP or SOCKS proxy. `str()` and `repr()` omit user and password."""

    scheme: str
    host: str
    port: int
    credentials: Credentials | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{endpoint(self.host, self.port)}"


@dataclass(frozen=True)
class Way:
    """The parameters of one attempt to connect through a proxy. Times are in seconds."""

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
    """Parse a proxy's URL: `http`, `https`, `socks5` or `socks5h`, or `http` without a scheme.

    User and password are percent-decoded. With both SOCKS schemes the proxy resolves the destination's name, because
    the network that needs the proxy may not resolve outside names. Raises `UsageError`.
    """
    shown = printable(re.sub(r"(//|^).*@", r"\1***@", url, flags=re.DOTALL))
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError:
        raise UsageError(f"the proxy {shown!r} has an invalid host or port; write http://host:port") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise UsageError(f"the proxy {shown!r} has an unknown scheme; use one of {', '.join(DEFAULT_PORTS)}")
    if not parts.hostname or port == 0 or re.search(r"[\x00-\x20\x7f\ud800-\udfff]", url):
        raise UsageError(f"the proxy {shown!r} is invalid; write http://host:port")
    return OutProxy(
        scheme=parts.scheme,
        host=unquote(parts.hostname),
        port=port or DEFAULT_PORTS[parts.scheme],
        credentials=_credentials(parts.username, parts.password, parts.scheme, shown),
    )


def choose(setting: str | None, secure: bool, host: str, port: int) -> OutProxy | None:
    """Return the proxy for a target, or None: from `setting`, or from the environment if `setting` is None.

    `""` and `"none"` mean no proxy. The environment has the same variables as for curl: `http_proxy` for plain targets,
    `https_proxy` for targets with TLS, `all_proxy` for both, and `no_proxy`. On macOS and Windows the system's settings
    apply too. A proxy from the environment is never used for this machine itself. Raises `UsageError`.
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
    """Return whether a `NO_PROXY` list contains the host.

    Entries are separated by commas or spaces. Each is `*`, a domain (which includes its subdomains), an address or a
    CIDR network. A domain may begin with `.` or `*.`, and end in `:port`.
    """
    entries = [entry.lower() for entry in re.split(r"[,\s]+", no_proxy) if entry]
    return any(entry == "*" or _matches(entry, host.lower().rstrip("."), port) for entry in entries)


def connect_through(way: Way) -> Socket:
    """Connect to the destination through the proxy. No byte has been exchanged with the destination yet.

    Raises `DialError`, one line with the proxy's URL and the text of its answer; `ProxyRefused` with its status;
    `UsageError` for an unusable CA file.
    """
    return _through_socks(way) if way.proxy.scheme.startswith("socks") else _through_http(way)


def _through_http(way: Way) -> Socket:
    """Send CONNECT without credentials first: the proxy's challenges decide whether the password is revealed."""
    sock, response, page = _ask(way)
    if response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED and way.proxy.credentials is not None:
        sock.close()
        sock, response, page = _ask_again(way, way.proxy.credentials, response, page)
    if 200 <= response.status_code < 300:
        return sock
    sock.close()
    raise _refusal(way, response, page)


def _ask(way: Way, authorization: str | None = None) -> tuple[Socket, Response, bytes]:
    """Send one CONNECT on a new connection. Return the socket, the response, and the body of a refusal."""
    with _connected(way) as sock:
        return sock, *_exchange(sock, AnswerReader(sock), way, authorization)


def _ask_again(way: Way, credentials: Credentials, refused: Response, page: bytes) -> tuple[Socket, Response, bytes]:
    """Send CONNECT with credentials, by the scheme among the proxy's challenges that best protects the password."""
    offered = parse_challenges(refused.headers.get_all("Proxy-Authenticate"))
    schemes = {challenge.scheme for challenge in offered}
    authorization = answer(offered, credentials, way.authority)
    if "ntlm" in schemes and (authorization is None or ("digest" not in schemes and ntlm_is_installed())):
        return _ask_ntlm(way, credentials)
    if authorization is not None:
        return _ask(way, authorization)
    raise _refusal(way, refused, page)


def _ask_ntlm(way: Way, credentials: Credentials) -> tuple[Socket, Response, bytes]:
    """Send the CONNECTs of an NTLM exchange on one connection, because NTLM authenticates the connection."""
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
    if reader.leftover:  # nothing has been sent to the destination yet
        raise DialError("it sent unexpected bytes after its answer")
    return response, b""


@contextmanager
def _connected(way: Way) -> Iterator[Socket]:
    """Connect to the proxy for the block, which has one deadline. The connection is closed if the block fails."""
    proxy, seconds = way.proxy, way.handshake_timeout
    try:
        sock = connect(proxy.host, proxy.port, way.connect_timeout)
    except DialError as error:
        raise DialError(f"cannot reach the proxy {proxy}: {error}") from error
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
    """Add the proxy's URL to errors of the block."""
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
    return ProxyRefused(f"the proxy {way.proxy} refused to connect to {way.authority}: {said}", status)


def _credentials_advice(way: Way, response: Response) -> str:
    if way.proxy.credentials is None:
        return f"it requires a user and password: --proxy {way.proxy.scheme}://USER:PASSWORD@HOST:PORT"
    offered = {challenge.scheme for challenge in parse_challenges(response.headers.get_all("Proxy-Authenticate"))}
    if offered and not offered & {"basic", "digest", "ntlm"}:
        return f"it accepts only {printable(', '.join(sorted(offered)))}; Hubble supports Basic, Digest and NTLM"
    return "are user and password right?"


def _through_socks(way: Way) -> Socket:
    with _connected(way) as sock:
        try:
            socks.connect(sock, way.host, way.port, way.proxy.credentials)
        except socks.Refused as error:
            raise ProxyRefused(f"the proxy {way.proxy} refused to connect to {way.authority}: {error}", 0) from error
        return sock


def _credentials(username: str | None, password: str | None, scheme: str, shown: str) -> Credentials | None:
    if username is None:
        return None
    credentials = Credentials(unquote(username), unquote(password or ""))
    if scheme.startswith("socks"):
        if not all(0 < len(text.encode()) <= 255 for text in credentials):
            raise UsageError(f"the proxy {shown!r} needs a user and a password of at most 255 bytes each (SOCKS)")
    elif ":" in credentials.username or not "".join(credentials).isprintable():
        raise UsageError(f"the user or password of the proxy {shown!r} is invalid: no control characters, no colon")
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
