"""The HTTP requests of authorization scripts: requests over one pool of connections, bounded in time and size."""

from __future__ import annotations

import functools
import http.client
import os
import re
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

import certifi
import gevent
import requests
from gevent import monkey
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from hubble.base.errors import PatchingMissing, UsageError

HOSTS = 64  # whose connections are kept
CHUNK = 64 * 1024  # bytes of a body read at a time
REDIRECTS = 10  # as Go's client
USER_AGENT = "hubble"

_METHOD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class HttpFailure(Exception):
    """A request got no whole response. The text is one line, without the URL's query."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request of a script; `timeout` in seconds, for all of it. Texts are as the script gave them."""

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
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return self.method.capitalize()
        return f'{self.method.capitalize()} "{parts.scheme}://{parts.netloc.rpartition("@")[2]}{parts.path}"'


def parse_duration(text: str) -> float:
    """Seconds of a duration as Go writes it: "30s", "1.5s", "1h15m", "0". Raises ValueError."""
    unsigned = text.lstrip("+-") if text[:1] in ("+", "-") and text[1:2] not in ("+", "-") else text
    if unsigned == "0":
        return 0.0
    parts = _DURATION_PART.findall(unsigned)
    if not parts or "".join(amount + unit for amount, unit in parts) != unsigned:
        raise ValueError(f'invalid duration "{text}": write a number and a unit, such as "30s"')
    seconds = sum(float(amount) * _UNITS[unit] for amount, unit in parts)
    return -seconds if text.startswith("-") else seconds


@functools.cache
def _tls_context(trusted: str | None) -> ssl.SSLContext:
    """Verifies servers by the system's certificates, certifi's, and those in the file `trusted`."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    if trusted:
        try:
            context.load_verify_locations(trusted)
        except OSError as error:
            raise UsageError(
                f"cannot read certificates from {trusted}: {error.strerror or 'there are none'}"
            ) from error
    return context


class _Adapter(HTTPAdapter):
    """Shares one TLS context: a new one for each connection would parse the system's certificates each time."""

    def __init__(self, context: ssl.SSLContext, pool_size: int) -> None:
        self._context = context
        # A kept connection may have been closed by the server just now: as Go's client, try a safe method again.
        retries = Retry(
            1,
            connect=0,
            read=1,
            redirect=0,
            status=0,
            other=0,
            allowed_methods=("GET", "HEAD"),
            respect_retry_after_header=False,
        )
        super().__init__(pool_connections=HOSTS, pool_maxsize=pool_size, max_retries=retries)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._context, **options)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leaves verification to the shared context, which requires it."""

    def send(self, *args: Any, **options: Any) -> requests.Response:
        response = super().send(*args, **options)
        if response.is_redirect:
            # requests would read a redirect's body to its end, whatever its size.
            response.close()
        return response


class _Session(requests.Session):
    """A session for one request, so that no cookie outlives it."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
        before, after = response.request.url or "", prepared_request.url or ""
        if self.should_strip_auth(before, after):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop("Cookie", None)


class HttpClient:
    """Sends requests for scripts; all share its connections. Needs gevent's monkey-patching, or the hub would wait.

    body_limit: bytes of a response's body. pool_size: idle connections kept for each host.
    ca_file: certificates to trust beside the system's and those of certifi; REQUESTS_CA_BUNDLE unless given.
    Raises PatchingMissing, and UsageError for certificates that cannot be read.
    """

    def __init__(self, body_limit: int, pool_size: int, ca_file: str | None = None) -> None:
        if not monkey.is_module_patched("socket"):
            raise PatchingMissing("the Lua module http needs gevent.monkey.patch_all() before all other imports")
        self._body_limit = body_limit
        self._adapter = _Adapter(_tls_context(ca_file or os.environ.get("REQUESTS_CA_BUNDLE")), pool_size)
        self._has_proxies = bool(getproxies_environment())

    def fetch(self, request: HttpRequest, seconds: float) -> dict[str, object]:
        """The response as a table for Lua. Waits at most `seconds`, or request.timeout if that is less.

        Raises HttpFailure for everything but a whole response; a status of 4xx or 5xx is one.
        """
        limit = seconds if request.timeout is None else min(seconds, request.timeout)
        if limit <= 0:
            raise HttpFailure(f"{request}: timed out")
        timer = gevent.Timeout.start_new(limit)
        try:
            return self._exchange(request)
        except gevent.Timeout as expired:
            if expired is not timer:
                raise
            raise HttpFailure(f"{request}: timed out") from None
        except HttpFailure as failure:
            raise HttpFailure(f"{request}: {failure}") from None
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise HttpFailure(f"{request}: {_cause(error)}") from None
        finally:
            timer.close()

    def _exchange(self, request: HttpRequest) -> dict[str, object]:
        if not _METHOD.fullmatch(request.method):
            raise HttpFailure("invalid method")
        url = request.url
        if request.query is not None:
            url = urlsplit(url)._replace(query=request.query).geturl()
        headers: CaseInsensitiveDict[str] = CaseInsensitiveDict({"User-Agent": USER_AGENT})
        if request.form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        headers.update(request.headers)
        session = _Session()  # never closed: that would close the connections all share
        session.trust_env = False  # no credentials from .netrc
        session.max_redirects = REDIRECTS
        session.mount("http://", self._adapter)
        session.mount("https://", self._adapter)
        with session.request(
            request.method.upper(),
            url,
            data=request.body,
            headers=headers,
            cookies=dict(request.cookies),
            auth=None if "Authorization" in headers else request.auth,
            proxies=get_environ_proxies(url) if self._has_proxies else None,
            stream=True,
        ) as response:
            return self._table(response)

    def _table(self, response: requests.Response) -> dict[str, object]:
        body = bytearray()
        for chunk in response.iter_content(CHUNK):
            body += chunk
            if len(body) > self._body_limit:
                raise HttpFailure(f"the response's body has more than {self._body_limit} bytes")
        pairs: list[tuple[str, str]] = list(response.raw.headers.items())
        return {
            "status_code": response.status_code,
            "body": bytes(body),
            "body_size": len(body),
            "url": response.url,
            "headers": _first_values(pairs),
            "cookies": _cookies(value for name, value in pairs if name.lower() == "set-cookie"),
        }


def _first_values(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Header fields by their canonical name, the first value of each."""
    values: dict[str, str] = {}
    for name, value in pairs:
        values.setdefault("-".join(word.capitalize() for word in name.split("-")), value)
    return values


def _cookies(fields: Iterable[str]) -> dict[str, str]:
    """Name to value of each Set-Cookie field, whatever its attributes say."""
    cookies: dict[str, str] = {}
    for field_value in fields:
        name, found, value = field_value.partition(";")[0].partition("=")
        if found and name.strip():
            cookies[name.strip()] = value.strip().removeprefix('"').removesuffix('"')
    return cookies


_TOLD: list[tuple[type[Exception], str]] = [
    (requests.exceptions.TooManyRedirects, f"stopped after {REDIRECTS} redirects"),
    (requests.exceptions.InvalidHeader, "invalid header"),
    (requests.exceptions.MissingSchema, "unsupported protocol scheme"),
    (requests.exceptions.InvalidSchema, "unsupported protocol scheme"),
    (requests.exceptions.InvalidURL, "invalid URL"),
    (requests.exceptions.ContentDecodingError, "the body cannot be decoded"),
    (http.client.RemoteDisconnected, "the server closed the connection without an answer"),
    (http.client.IncompleteRead, "the body ended early"),
    (socket.gaierror, "no such host"),
]


def _cause(error: BaseException) -> str:
    """What went wrong at the root; the messages of the libraries hold the URL, and with it perhaps a key."""
    seen: list[BaseException] = []
    current: object = error
    while isinstance(current, BaseException) and current not in seen:
        seen.append(current)
        inner = current.args[0] if current.args else None
        current = getattr(current, "reason", None) or (inner if isinstance(inner, BaseException) else None)
        current = current or seen[-1].__cause__ or seen[-1].__context__
    for link in seen:
        for kind, text in _TOLD:
            if isinstance(link, kind):
                return text
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"certificate not trusted: {link.verify_message}"
    for link in reversed(seen):
        if isinstance(link, OSError) and link.strerror:
            return link.strerror.lower()
    return type(seen[-1]).__name__
