"""Responses to requests that do not open a link, so that the proxy can share a port with a web site."""

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
"""Seconds until the site's response must have begun, including a slow upload by the client."""
CHUNK = 64 * 1024

# RFC 9110, section 7.6.1, and the headers that old proxy clients send.
HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
}
# Set again for the site, or meant only for this hop.
REPLACED = {"expect", "forwarded", "x-forwarded-for"}


class Site:
    """Relays requests to the site at `url`, `http` or `https`, as a reverse proxy does.

    The site sees the client's Host, and its address in X-Forwarded-For. Raises UsageError if the URL is invalid, and
    PatchingMissing if gevent has not patched sockets: a request would block the whole process.
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
        late = TimeoutError(f"no response within {EXCHANGE_TIMEOUT:g} s")
        try:
            with gevent.Timeout(EXCHANGE_TIMEOUT, late):
                response = self._ask(environ)
        except (HTTPError, OSError) as error:
            log.warning("fallback site %s did not respond: %s", self._url, error)
            return answer(start_response, environ, "502 Bad Gateway", b"the site does not respond\n")
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
            log.warning("fallback site %s aborted its response: %s", self._url, error)
            # Ends the client's connection as well, so that the client sees that the response is incomplete.
            raise ConnectionResetError(errno.ECONNRESET, "the site aborted its response") from error
        finally:
            response.close()


def parse_fallback(text: str) -> WSGIApplication:
    """Return the fallback for the text `404` or the URL of a site. Raises UsageError."""
    return not_found if text == "404" else Site(text)


def _no_site(url: str) -> UsageError:
    return UsageError(f"invalid fallback {url!r}: write 404 or the URL of a site, for example http://127.0.0.1:8081")


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
    for name in ("accept-encoding", "user-agent"):  # keeps urllib3 from adding its own
        kept.setdefault(name, SKIP_HEADER)
    return kept


def _response_headers(response: BaseHTTPResponse) -> list[tuple[str, str]]:
    dropped = HOP_BY_HOP | _named_by_connection(response.headers.get("connection", ""))
    if response.status in (204, 304):
        dropped |= {"content-length"}  # valid in a 304, but pywsgi rejects it
    return [(name, value) for name, value in response.headers.items() if name.lower() not in dropped]


def _named_by_connection(value: str) -> set[str]:
    return {token.strip().lower() for token in value.split(",") if token.strip()}
