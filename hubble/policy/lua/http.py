"""HTTP requests of authorization scripts, as Go's client sends them, bounded in time and size."""

from __future__ import annotations

import base64
import gzip
import http.client
import re
import socket
import ssl
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import gevent

from hubble.policy.lua.connections import Connections, ProxyUnsupported
from hubble.policy.lua.urls import Url, joined, parse_url, with_query

CHUNK = 64 * 1024  # bytes of a body read at a time
REQUESTS = 10  # for one request of a script, redirects included, as in Go
USER_AGENT = "hubble"

_METHOD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_COOKIE_DROPPED = re.compile(r'[^\x20-\x7e]|["\\;]')
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNSETTABLE = frozenset({"Host", "Content-Length", "Transfer-Encoding", "Trailer"})  # ignored by Go as well
_SECRET = frozenset({"Authorization", "Www-Authenticate", "Cookie", "Cookie2"})
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_WITH_LENGTH = frozenset({"POST", "PUT", "PATCH"})  # send Content-Length even for an empty body
_CHANGED = frozenset({301, 302, 303})  # redirects after which a method other than HEAD becomes GET
_KEPT = frozenset({307, 308})  # redirects of a request without a body


class HttpFailure(Exception):
    """A request failed to get a complete response. The text is one line, without the URL's query."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request of a script. timeout: seconds for the whole request. Texts have one character for each byte."""

    method: str
    url: str = field(repr=False)
    query: str | None = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False)
    form: bool = False
    headers: Sequence[tuple[str, str]] = field(default=(), repr=False)
    cookies: Sequence[tuple[str, str]] = field(default=(), repr=False)
    timeout: float | None = None
    auth: tuple[str, str] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        method = self.method.capitalize() or "Get"
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return method
        text = f'{method} "{parts.scheme}://{parts.netloc.rpartition("@")[2]}{parts.path}"'
        return text.encode("latin-1", "replace").decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Order:
    """One request to send. The keys of `fields` are canonical names."""

    method: str
    url: Url
    fields: dict[str, str]
    body: bytes | None


def parse_duration(text: str) -> float:
    """Return the seconds of a duration in Go's notation: "30s", "1.5s", "1h15m", "0". Raises ValueError."""
    unsigned = text.lstrip("+-") if text[:1] in ("+", "-") and text[1:2] not in ("+", "-") else text
    if unsigned == "0":
        return 0.0
    parts = _DURATION_PART.findall(unsigned)
    if not parts or "".join(amount + unit for amount, unit in parts) != unsigned:
        raise ValueError(f'invalid duration "{text}"; write a number and a unit, for example "30s"')
    seconds = sum(float(amount) * _UNITS[unit] for amount, unit in parts)
    return -seconds if text.startswith("-") else seconds


class HttpClient:
    """Sends requests for scripts, which share its connections. Without gevent's monkey-patching the hub would block.

    body_limit: bytes of a response's body.
    ca_file: certificates to trust besides those of the system and certifi; by default REQUESTS_CA_BUNDLE.
    Raises PatchingMissing, and UsageError for unreadable certificates.
    """

    def __init__(self, body_limit: int, ca_file: str | None = None) -> None:
        self._body_limit = body_limit
        self._connections = Connections(ca_file)

    def fetch(self, request: HttpRequest, seconds: float) -> dict[str, object]:
        """Return the response as a table for Lua. Wait at most `seconds`, or request.timeout if that is less.

        Raises HttpFailure unless the response is complete. A response with status 4xx or 5xx is complete.
        """
        limit = seconds if request.timeout is None else min(seconds, request.timeout)
        if limit <= 0:
            raise HttpFailure(f"{request}: timed out")
        timer = gevent.Timeout.start_new(limit)
        try:
            return self._follow(_order(request))
        except gevent.Timeout as expired:
            if expired is not timer:
                raise
            raise HttpFailure(f"{request}: timed out") from None
        except HttpFailure as failure:
            raise HttpFailure(f"{request}: {failure}") from None
        except (http.client.HTTPException, OSError, ValueError, zlib.error, EOFError) as error:
            raise HttpFailure(f"{request}: {_cause(error)}") from None
        finally:
            timer.close()

    def _follow(self, order: _Order) -> dict[str, object]:
        first = order.url
        for _ in range(REQUESTS):
            following = self._exchange(order, first)
            if not isinstance(following, _Order):
                return following
            order = following
        raise HttpFailure(f"stopped after {REQUESTS} redirects")

    def _exchange(self, order: _Order, first: Url) -> dict[str, object] | _Order:
        """Send one request; return the response, or the request that it redirects to."""
        while True:
            connection, kept = self._connections.take(order.url)
            whole = False
            try:
                response = _sent(connection, order)
                following = _redirected(order, response, first)
                result = following or self._table(order, response)
                whole = response.isclosed() and not response.will_close
                return result
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if not (kept and order.body is None and order.method in _REPEATABLE):
                    raise
                # The server just closed the idle connection: as in Go, try another.
            finally:
                if whole:
                    self._connections.give(order.url, connection)
                else:
                    connection.close()

    def _table(self, order: _Order, response: http.client.HTTPResponse) -> dict[str, object]:
        pairs = response.getheaders()
        packed = _asks_for_gzip(order) and response.getheader("Content-Encoding", "").lower() == "gzip"
        body = self._body(response, packed)
        if packed:
            pairs = [pair for pair in pairs if pair[0].lower() not in ("content-encoding", "content-length")]
        return {
            "status_code": response.status,
            "body": body,
            "body_size": len(body),
            "url": str(order.url).encode("latin-1"),
            "headers": {name: value.encode("latin-1") for name, value in _first_values(pairs).items()},
            "cookies": _cookies(value for name, value in pairs if name.lower() == "set-cookie"),
        }

    def _body(self, response: http.client.HTTPResponse, packed: bool) -> bytes:
        body, unpack = bytearray(), _Unpack() if packed else None
        while chunk := response.read(CHUNK):
            body += chunk if unpack is None else unpack(chunk, self._body_limit + 1 - len(body))
            if len(body) > self._body_limit:
                raise HttpFailure(f"the response's body has more than {self._body_limit} bytes")
        if response.length or (unpack is not None and not unpack.ended):
            raise HttpFailure("the body ended early")
        return bytes(body)


class _Unpack:
    """Unpacks the members of a gzip stream, never more bytes than requested."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.ended = True

    def __call__(self, packed: bytes, limit: int) -> bytes:
        unpacked = bytearray()
        while packed and len(unpacked) < limit:
            unpacked += self._member.decompress(packed, limit - len(unpacked))
            packed = self._member.unconsumed_tail
            self.ended = self._member.eof
            if self.ended:
                packed = self._member.unused_data
                self._member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        return bytes(unpacked)


def _order(request: HttpRequest) -> _Order:
    """Make the first request to send. Raises HttpFailure and ValueError for an invalid one."""
    method = request.method.upper() or "GET"
    if not _METHOD.fullmatch(method):
        raise HttpFailure("invalid method")
    url = parse_url(request.url)
    if request.query is not None:
        url = with_query(url, request.query)
    fields: dict[str, str] = {}
    if request.cookies:
        fields["Cookie"] = "; ".join(_cookie(name, value) for name, value in request.cookies)
    if request.form:
        fields["Content-Type"] = "application/x-www-form-urlencoded"
    if request.auth is not None:
        fields["Authorization"] = _basic(request.auth)
    for name, value in request.headers:
        if not (_METHOD.fullmatch(name) and _FIELD_VALUE.fullmatch(value)):
            raise HttpFailure("invalid header")
        fields[_canonical(name)] = value.strip(" \t")
    return _Order(method, url, {name: fields[name] for name in fields if name not in _UNSETTABLE}, request.body)


def _cookie(name: str, value: str) -> str:
    """Format a cookie as Go does: drop characters that could end it, and quote a space or a comma."""
    if not _METHOD.fullmatch(name):
        raise HttpFailure("invalid cookie name")
    value = _COOKIE_DROPPED.sub("", value)
    return f'{name}="{value}"' if " " in value or "," in value else f"{name}={value}"


def _basic(auth: tuple[str, str]) -> str:
    return "Basic " + base64.b64encode(":".join(auth).encode("latin-1")).decode("ascii")


def _canonical(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("-"))


def _sent(connection: http.client.HTTPConnection, order: _Order) -> http.client.HTTPResponse:
    fields = {"Host": order.url.host_field, "User-Agent": USER_AGENT, **order.fields}
    if order.url.user is not None:
        name, password = order.url.user
        fields.setdefault("Authorization", _basic((name, password or "")))
    if order.body or order.method in _WITH_LENGTH:
        fields["Content-Length"] = str(len(order.body or b""))
    if _asks_for_gzip(order):
        fields["Accept-Encoding"] = "gzip"
    target = Connections.target(connection, order.url)
    connection.putrequest(order.method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in fields.items():
        if value or name != "User-Agent":
            connection.putheader(name, value.encode("latin-1"))
    connection.endheaders(order.body or None)
    return connection.getresponse()


def _asks_for_gzip(order: _Order) -> bool:
    return order.method != "HEAD" and not {"Accept-Encoding", "Range"} & order.fields.keys()


def _redirected(order: _Order, response: http.client.HTTPResponse, first: Url) -> _Order | None:
    """Return the request that follows `order`, or None if this response is the last. Raises ValueError."""
    location = response.getheader("Location")
    kept = response.status in _KEPT and order.body is None
    if not location or not (kept or response.status in _CHANGED):
        return None
    url = joined(order.url, location)
    fields = order.fields
    if not _same_site(url, first):
        fields = {name: value for name, value in fields.items() if name not in _SECRET}
    if kept:
        return replace(order, url=url, fields=fields)
    return _Order(order.method if order.method == "HEAD" else "GET", url, fields, None)


def _same_site(url: Url, first: Url) -> bool:
    """Return whether `url` may receive the credentials for `first`: the same host or a subdomain, and the same port."""
    same_host = url.host.lower() == first.host.lower() or url.host.lower().endswith("." + first.host.lower())
    return same_host and url.port == first.port and (url.scheme == "https" or first.scheme == "http")


def _first_values(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the first value of each header, by canonical name."""
    values: dict[str, str] = {}
    for name, value in pairs:
        values.setdefault(_canonical(name), value)
    return values


def _cookies(fields: Iterable[str]) -> dict[str, str]:
    """Return the name and value of each Set-Cookie field, without its attributes."""
    cookies: dict[str, str] = {}
    for field_value in fields:
        name, found, value = field_value.partition(";")[0].partition("=")
        if found and name.strip():
            cookies[name.strip()] = value.strip().removeprefix('"').removesuffix('"')
    return cookies


_TOLD: list[tuple[type[Exception], str]] = [
    (ProxyUnsupported, "the proxy in the environment is unsupported; write http://host:port"),
    (http.client.RemoteDisconnected, "the server closed the connection without an answer"),
    (http.client.IncompleteRead, "the body ended early"),
    (http.client.HTTPException, "the server's answer is not HTTP"),
    (gzip.BadGzipFile, "the body cannot be decoded"),
    (zlib.error, "the body cannot be decoded"),
    (socket.gaierror, "no such host"),
    (UnicodeError, "invalid host in the URL"),
]


def _cause(error: Exception) -> str:
    """Describe the failure without a URL, and so without a key."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    for kind, text in _TOLD:
        if isinstance(error, kind):
            return text
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) if type(error) is ValueError else type(error).__name__
