"""URLs as Go's net/url parses and writes them, so that a script's request goes to the same place as with the original.

Texts have one character for each byte. A URL is sent as the script wrote it, including escapes and dot segments. Only a
path with an invalid character is escaped again, as a whole. Source: net/url of Go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import quote_from_bytes, unquote_to_bytes

MAX_URL = 64 * 1024  # bytes

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_PATH = re.compile(r"[A-Za-z0-9_.~$&+,/:;=@!'()*\[\]%-]*")
_PATH_SAFE = "$&+,/:;=@"
_USER = re.compile(r"[A-Za-z0-9._:~!$&'()*+,;=%@-]*")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\]|[A-Za-z0-9._~!$&'()*+,;=\x80-\xff-]+)(?::([0-9]*))?")
_NAME = re.compile(r"(?=.{1,253}\Z)[^.]{1,63}(\.[^.]{1,63})*\.?")
_QUERY_UNSAFE = re.compile(r"[ #\x80-\xff]")
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of a URL. authority: the host and port as written. path, query: as they are sent."""

    scheme: str = ""
    user: tuple[str, str | None] | None = None
    authority: str = ""
    path: str = ""
    query: str | None = None
    fragment: str = ""

    def __str__(self) -> str:
        """The whole URL, as `response.url` shows it."""
        words = [quote_from_bytes(each.encode("latin-1"), "$&+,;=") for each in self.user or () if each is not None]
        user = ":".join(words)
        query = "" if self.query is None else f"?{self.query}"
        fragment = f"#{self.fragment}" if self.fragment else ""
        return f"{self.scheme}://{user}{'@' if words else ''}{self.authority}{self.path}{query}{fragment}"

    @property
    def host(self) -> str:
        """The name or address to connect to. Raises ValueError if it is invalid."""
        host = self.authority if self.authority.endswith("]") else self.authority.rpartition(":")[0] or self.authority
        host = host.removeprefix("[").removesuffix("]").replace("%25", "%")
        if not host.isascii():
            host = host.encode("latin-1").decode("utf-8").encode("idna").decode("ascii")
        if not _NAME.fullmatch(host):  # the resolver would raise another error
            raise ValueError("invalid host in the URL")
        return host

    @property
    def port(self) -> int:
        """The port to connect to. Raises ValueError above 65535."""
        text = self.authority.rpartition(":")[2] if not self.authority.endswith("]") else ""
        number = int(text) if text.isdigit() else DEFAULT_PORTS[self.scheme]
        if number > 65535:
            raise ValueError(f"invalid port {text[:10]}")
        return number

    @property
    def host_field(self) -> str:
        """The value of the request's Host field."""
        host = f"[{self.host.partition('%')[0]}]" if self.authority.startswith("[") else self.host
        port = self.authority.rpartition(":")[2]
        return f"{host}:{port}" if self.authority.endswith(f":{port}") and port.isdigit() else host

    @property
    def target(self) -> str:
        """The target of the request line: the path and the query."""
        query = "" if self.query is None else "?" + _QUERY_UNSAFE.sub(lambda c: f"%{ord(c[0]):02X}", self.query)
        return f"{self.path or '/'}{query}"


def parse_url(text: str) -> Url:
    """Parse the URL of a request. Raises ValueError, whose text names the fault."""
    url = _parse(text)
    if url.scheme not in DEFAULT_PORTS:
        raise ValueError("unsupported protocol scheme")
    if not url.authority:
        raise ValueError("no host in the URL")
    return url


def with_query(url: Url, query: str) -> Url:
    """Return the URL with another query. Raises ValueError."""
    _check(query)
    return replace(url, query=query or None)


def joined(base: Url, reference: str) -> Url:
    """Return the target of a redirect from `base`. Raises ValueError."""
    url = _parse(reference)
    if url.authority:
        url = replace(url, scheme=url.scheme or base.scheme, path=_resolved(url.path, ""))
    elif url.scheme:
        raise ValueError("no host in the URL")
    else:
        query = base.query if not url.path and url.query is None else url.query
        path = _resolved(base.path, url.path)
        url = replace(base, path=path, query=query, fragment=url.fragment)
    if url.scheme not in DEFAULT_PORTS:
        raise ValueError("unsupported protocol scheme")
    return url


def _check(text: str) -> None:
    if _CONTROL.search(text):
        raise ValueError("invalid control character in URL")
    if len(text) > MAX_URL:
        raise ValueError(f"the URL has more than {MAX_URL} bytes")


def _parse(text: str) -> Url:
    _check(text)
    text, _, fragment = text.partition("#")
    _unescaped(fragment)
    match = _SCHEME.fullmatch(text)
    scheme, rest = (match[1].lower(), match[2]) if match else ("", text)
    rest, found, query = rest.partition("?")
    user, authority = None, ""
    if rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        user, authority = _authority(authority)
        rest = slash + path
    elif scheme and not rest.startswith("/"):
        raise ValueError("no host in the URL")
    elif not scheme and ":" in rest.partition("/")[0]:
        raise ValueError("unsupported protocol scheme")
    return Url(scheme, user, authority, _escaped_path(rest), query if found else None, fragment)


def _authority(text: str) -> tuple[tuple[str, str | None] | None, str]:
    userinfo, at, host = text.rpartition("@")
    if host and not _HOST.fullmatch(host):
        raise ValueError("invalid host in the URL")
    host = host.removesuffix(":")
    if not at:
        return None, host
    if not _USER.fullmatch(userinfo):
        raise ValueError("invalid userinfo in the URL")
    name, colon, password = userinfo.partition(":")
    return (_unescaped(name), _unescaped(password) if colon else None), host


def _unescaped(text: str) -> str:
    bad = _BAD_ESCAPE.search(text)
    if bad:
        raise ValueError("invalid escape in the URL")
    return unquote_to_bytes(text.encode("latin-1")).decode("latin-1")


def _escaped_path(path: str) -> str:
    plain = _unescaped(path)
    if _PATH.fullmatch(path):
        return path
    return quote_from_bytes(plain.encode("latin-1"), safe=_PATH_SAFE)


def _resolved(base: str, reference: str) -> str:
    """Resolve `reference` against the path `base`, without dot segments."""
    full = reference if reference.startswith("/") else base[: base.rfind("/") + 1] + reference if reference else base
    if not full:
        return ""
    kept: list[str] = []
    parts = full.removeprefix("/").split("/")
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    if parts[-1] in (".", "..") and kept:
        kept.append("")
    return "/" + "/".join(kept)
