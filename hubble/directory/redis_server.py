"""Creates the client of the Redis server from a URL: plain, with TLS, or located by Sentinels."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry
from redis.sentinel import Sentinel

from hubble.base.errors import UsageError

PATIENCE = 1.0
"""Seconds within which the server must accept a connection, and answer a request."""
FORMS = (
    "redis://[user:password@]host[:port][/db], rediss:// for TLS, "
    "redis+sentinel://[user:password@]host[:port],host[:port].../service[/db], or rediss+sentinel://"
)
_OF_SENTINELS = {"sentinel_username": "username", "sentinel_password": "password"}


def client(url: str) -> redis.Redis:
    """Return a client that is not connected yet. Raises UsageError, without the password, if the URL is invalid."""
    try:
        return _client(url)
    except (ValueError, TypeError):
        raise UsageError(f"--cluster: invalid URL; write {FORMS}") from None


def shown(url: str) -> str:
    """Return the URL without user, password and options, for log lines."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _client(url: str) -> redis.Redis:
    match = re.fullmatch(r"(rediss?)(\+sentinel)?://([^/?#]+)(/[^?#]*)?(?:\?([^#]*))?", url)
    if match is None:
        raise ValueError
    scheme, is_sentinel, netloc, path, query = match.groups("")
    options: dict[str, Any] = {
        "socket_timeout": PATIENCE,
        "socket_connect_timeout": PATIENCE,
        "socket_keepalive": True,
        "decode_responses": True,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if not is_sentinel:
        _database(path)
        return redis.Redis.from_url(url, **options)
    return _through_sentinels(scheme, netloc, path, query, options)


def _through_sentinels(scheme: str, netloc: str, path: str, query: str, options: dict[str, Any]) -> redis.Redis:
    credentials, at, hosts = netloc.rpartition("@")
    service, _, database = path.removeprefix("/").partition("/")
    if not service:
        raise ValueError
    settings = dict(parse_qsl(query))
    of_sentinels = {name: settings.pop(key) for key, name in _OF_SENTINELS.items() if key in settings}
    url = f"{scheme}://{credentials}{at}placeholder/{_database(database)}?{urlencode(settings)}"
    rest: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    del rest["host"]
    tls = {"ssl": True} if rest.pop("connection_class", None) else {}
    trust = {key: value for key, value in rest.items() if key.startswith("ssl_")}
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [_host_and_port(one) for one in hosts.split(",")],
        sentinel_kwargs={**options, **tls, **trust, **of_sentinels},
        **{**options, **tls, **rest},
    )
    server: redis.Redis = sentinels.master_for(service)  # type: ignore[no-untyped-call]
    return server


def _host_and_port(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError
    return parts.hostname, parts.port or 26379


def _database(text: str) -> int:
    return int(text.strip("/") or 0)
