"""What is answered where no link is asked for, so that the proxy can live on the port of a site."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

import gevent
import urllib3
from gevent import monkey
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse
from urllib3.util import SKIP_HEADER, Timeout

from hubble.base.errors import PatchingMissing, UsageError
from hubble.proxy.http.app import Environ, StartResponse, WSGIApplication, answer, not_found

log = logging.getLogger(__name__)

CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 60.0
EXCHANGE_TIMEOUT = 120.0
"""Seconds until the site's answer must have begun, its client's slow upload included."""
CHUNK = 64 * 1024

# RFC 9110, section 7.6.1; and what old clients of proxies send.
HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
}
# Said anew to the site, or none of its business.
REPLACED = {"expect", "forwarded", "x-forwarded-for"}


class Site:
    """Relays requests to the site at `url`, `http` or `https`, as a reverse proxy does.

    The site sees the client's Host, and its address in X-Forwarded-For. Raises UsageError for what is no such URL,
    PatchingMissing where a request would stop the whole process.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise _no_site(url) from None
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise _no_site(url)
        if parts.query or parts.fragment or not url.isprintable():
            raise _no_site(url)
        if not monkey.is_module_patched("socket"):
            raise PatchingMissing("--fallback URL needs gevent.monkey.patch_all() before all other imports")
        self._prefix = parts.path.rstrip("/")
        pool = urllib3.HTTPSConnectionPool if parts.scheme == "https" else urllib3.HTTPConnectionPool
        timeout = Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
        self._pool = pool(parts.hostname, port, maxsize=32, timeout=timeout)
        self._url = url

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not environ["RAW_URI"].startswith("/"):  # an absolute URI, or the * of OPTIONS
            return not_found(environ, start_response)
        late = TimeoutError(f"it has not answered within {EXCHANGE_TIMEOUT:g} s")
        try:
            with gevent.Timeout(EXCHANGE_TIMEOUT, late):
                response = self._ask(environ)
        except (HTTPError, OSError) as error:
            log.warning("the site %s does not answer: %s", self._url, error)
            return answer(start_response, environ, "502 Bad Gateway", b"the site does not answer\n")
        start_response(f"{response.status} {response.reason or ''}".strip(), _response_headers(response))
        if environ["REQUEST_METHOD"] == "HEAD":
            response.release_conn()
            return []
        return self._body(response)

    def _ask(self, environ: Environ) -> BaseHTTPResponse:
        return self._pool.urlopen(
            environ["REQUEST_METHOD"],
            self._prefix + environ["RAW_URI"],
            body=environ["wsgi.input"] if _has_body(environ) else None,
            headers=_request_headers(environ),
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )

    def _body(self, response: BaseHTTPResponse) -> Iterator[bytes]:
        try:
            yield from response.stream(CHUNK, decode_content=False)
            response.release_conn()
        except (HTTPError, OSError) as error:
            log.warning("the site %s broke off its answer: %s", self._url, error)
            # So that the client's connection ends as well, and it does not take this for the whole.
            raise ConnectionResetError(errno.ECONNRESET, "the site broke off its answer") from error
        finally:
            response.close()


def parse_fallback(text: str) -> WSGIApplication:
    """What `404`, or the URL of a site, means. Raises UsageError."""
    return not_found if text == "404" else Site(text)


def _no_site(url: str) -> UsageError:
    return UsageError(f"the fallback {url!r} is neither 404 nor the URL of a site, such as http://127.0.0.1:8081")


def _has_body(environ: Environ) -> bool:
    return bool(environ.get("CONTENT_LENGTH")) or "HTTP_TRANSFER_ENCODING" in environ


def _request_headers(environ: Environ) -> dict[str, str]:
    headers = {
        key.removeprefix("HTTP_").replace("_", "-").lower(): str(value)
        for key, value in environ.items()
        if key.startswith("HTTP_") or (key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
    }
    dropped = HOP_BY_HOP | REPLACED | _named_by_connection(headers.get("connection", ""))
    kept = {name: value for name, value in headers.items() if name not in dropped}
    kept["x-forwarded-for"] = environ.get("REMOTE_ADDR", "")
    kept.setdefault("x-forwarded-proto", environ["wsgi.url_scheme"])
    kept.setdefault("x-forwarded-host", headers.get("host", ""))
    for name in ("accept-encoding", "user-agent"):  # urllib3 has its own
        kept.setdefault(name, SKIP_HEADER)
    return kept


def _response_headers(response: BaseHTTPResponse) -> list[tuple[str, str]]:
    dropped = HOP_BY_HOP | _named_by_connection(response.headers.get("connection", ""))
    if response.status in (204, 304):
        dropped |= {"content-length"}  # true of a 304, and not allowed by pywsgi
    return [(name, value) for name, value in response.headers.items() if name.lower() not in dropped]


def _named_by_connection(value: str) -> set[str]:
    return {token.strip().lower() for token in value.split(",") if token.strip()}
