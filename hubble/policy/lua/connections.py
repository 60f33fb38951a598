"""HTTP connections of scripts, kept for further requests."""

from __future__ import annotations

import base64
import functools
import http.client
import os
import select
import ssl
import time
from collections import deque
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

import certifi
from gevent import monkey

from hubble.base.errors import PatchingMissing, UsageError
from hubble.policy.lua.urls import Url

KEPT = 256
"""Idle connections to keep."""
KEPT_SECONDS = 90.0
"""Seconds to keep one, as in Go."""

_poll = monkey.get_original("select", "poll")
Key = tuple[str, str, int]


class ProxyUnsupported(OSError):
    """The environment names a proxy of an unsupported kind."""


@functools.cache
def _tls_context(trusted: str | None) -> ssl.SSLContext:
    """Return a context that trusts the certificates of the system, of certifi, and in the file `trusted`."""
    context = ssl.create_default_context(cafile=certifi.where())
    context.load_default_certs()
    if trusted:
        try:
            context.load_verify_locations(trusted)
        except OSError as error:
            raise UsageError(
                f"cannot read certificates from {trusted}: {error.strerror or 'it contains none'}"
            ) from error
    return context


@dataclass(frozen=True, slots=True)
class _Idle:
    key: Key
    connection: http.client.HTTPConnection
    since: float


class Connections:
    """Opens connections, directly or through the proxy in the environment, and keeps idle ones.

    ca_file: certificates to trust besides those of the system and certifi; by default REQUESTS_CA_BUNDLE.
    Raises PatchingMissing, and UsageError for unreadable certificates.
    """

    def __init__(self, ca_file: str | None) -> None:
        if not monkey.is_module_patched("socket"):
            raise PatchingMissing("the Lua module http needs gevent.monkey.patch_all() before all other imports")
        self._context = _tls_context(ca_file or os.environ.get("REQUESTS_CA_BUNDLE"))
        self._idle: deque[_Idle] = deque()

    def take(self, url: Url) -> tuple[http.client.HTTPConnection, bool]:
        """Return a connection for `url`, and whether it was used before. Raises OSError and ValueError."""
        key = _key(url)
        for idle in list(self._idle):
            too_old = time.monotonic() - idle.since > KEPT_SECONDS
            if idle.key == key or too_old:
                self._idle.remove(idle)
                if not too_old and _is_silent(idle.connection):
                    return idle.connection, True
                idle.connection.close()
        return self._new(url), False

    def give(self, url: Url, connection: http.client.HTTPConnection) -> None:
        """Keep a connection whose last response was read completely."""
        self._idle.append(_Idle(_key(url), connection, time.monotonic()))
        if len(self._idle) > KEPT:
            self._idle.popleft().connection.close()

    @staticmethod
    def target(connection: http.client.HTTPConnection, url: Url) -> str:
        """Return the target for the request line. A proxy for plain HTTP needs the whole URL."""
        if isinstance(connection, _ToProxy):
            return f"http://{url.host_field}{url.target}"
        return url.target

    def _new(self, url: Url) -> http.client.HTTPConnection:
        proxy = _proxy_for(url)
        if proxy is None:
            if url.scheme == "https":
                return http.client.HTTPSConnection(url.host, url.port, context=self._context)
            return http.client.HTTPConnection(url.host, url.port)
        if url.scheme == "http":
            return _ToProxy(proxy.host, proxy.port, proxy.fields)
        connection = http.client.HTTPSConnection(proxy.host, proxy.port, context=self._context)
        connection.set_tunnel(url.host, url.port, proxy.fields)
        return connection


@dataclass(frozen=True, slots=True)
class _Proxy:
    host: str
    port: int
    fields: dict[str, str]


class _ToProxy(http.client.HTTPConnection):
    """A connection to a proxy that forwards requests for plain HTTP."""

    def __init__(self, host: str, port: int, fields: dict[str, str]) -> None:
        super().__init__(host, port)
        self._fields = fields

    def endheaders(self, *args: object, **options: object) -> None:
        for name, value in self._fields.items():
            self.putheader(name, value)
        super().endheaders(*args, **options)  # type: ignore[arg-type]


def _proxy_for(url: Url) -> _Proxy | None:
    proxies = getproxies_environment()
    text = proxies.get(url.scheme) or proxies.get("all")
    if not text or url.host == "localhost" or url.host.startswith("127.") or url.host == "::1":
        return None
    if proxy_bypass_environment(f"{url.host}:{url.port}", proxies):
        return None
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme != "http" or not parts.hostname:
        raise ProxyUnsupported
    fields = {}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        fields["Proxy-Authorization"] = "Basic " + base64.b64encode(user.encode()).decode("ascii")
    return _Proxy(parts.hostname, parts.port or 80, fields)


def _key(url: Url) -> Key:
    return url.scheme, url.host, url.port


def _is_silent(connection: http.client.HTTPConnection) -> bool:
    """Return whether the server neither closed the idle connection nor sent unexpected data."""
    if connection.sock is None:
        return False
    poll = _poll()
    poll.register(connection.sock.fileno(), select.POLLIN)
    return not poll.poll(0)
