"""Authenticate to an HTTP proxy: Basic (RFC 7617), Digest (RFC 7616), and NTLM if pyspnego is installed."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.request import parse_http_list

from websockets.headers import build_authorization_basic, build_quoted_string

from hubble.base.errors import DialError

HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}


class Credentials(NamedTuple):
    """A user, possibly as `domain\\user`, and a password that `repr` does not show."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, ...)"


@dataclass(frozen=True)
class Challenge:
    """One challenge in a `Proxy-Authenticate` header. The scheme and the parameters' names are in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)
    token: str = ""


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Return the challenges of all `Proxy-Authenticate` headers (RFC 9110, section 11.6.1), in the proxy's order."""
    challenges: list[Challenge] = []
    for item in filter(None, parse_http_list(", ".join(headers))):
        first, _, rest = item.partition(" ")
        if "=" not in first:  # a scheme, followed by a token or the first parameter
            name, equals, value = rest.strip().partition("=")
            is_token = not equals or not value.strip("=")
            challenges.append(Challenge(first.lower(), token=rest.strip() if is_token else ""))
            item = "" if is_token else rest
        if item and challenges:
            name, _, value = item.partition("=")
            challenges[-1].parameters[name.strip().lower()] = _unquoted(value.strip())
    return challenges


def answer(challenges: list[Challenge], credentials: Credentials, authority: str) -> str | None:
    """Return the `Proxy-Authorization` of a CONNECT to `authority`, or None if no challenge is supported.

    Digest takes precedence over Basic, which reveals the password to every observer on the path.
    """
    for challenge in challenges:
        if challenge.scheme == "digest":
            header = digest(challenge.parameters, "CONNECT", authority, credentials, os.urandom(16).hex())
            if header is not None:
                return header
    if any(challenge.scheme == "basic" for challenge in challenges):
        return build_authorization_basic(*credentials)
    return None


def digest(challenge: dict[str, str], method: str, uri: str, credentials: Credentials, cnonce: str) -> str | None:
    """Return the Digest header (RFC 7616, section 3.4), or None if the algorithm or the `qop` is not supported."""
    algorithm = challenge.get("algorithm", "MD5")
    hash_name = HASHES.get(algorithm.upper().removesuffix("-SESS"))
    qops = [qop.strip() for qop in challenge.get("qop", "").split(",") if qop.strip()]
    if hash_name is None or (qops and "auth" not in qops):
        return None

    def hashed(*parts: str) -> str:
        return hashlib.new(hash_name, ":".join(parts).encode("latin-1"), usedforsecurity=False).hexdigest()

    # As in all HTTP headers, each character represents a byte here: user and password are in UTF-8.
    username, password = (text.encode().decode("latin-1") for text in credentials)
    realm, nonce, count = challenge.get("realm", ""), challenge.get("nonce", ""), "00000001"
    secret = hashed(username, realm, password)
    if algorithm.upper().endswith("-SESS"):
        secret = hashed(secret, nonce, cnonce)
    middle = (nonce, count, cnonce, "auth") if qops else (nonce,)
    quoted = {
        "username": username,
        "realm": realm,
        "nonce": nonce,
        "uri": uri,
        "response": hashed(secret, *middle, hashed(method, uri)),
    }
    bare = {"algorithm": algorithm} if "algorithm" in challenge else {}
    if "opaque" in challenge:
        quoted["opaque"] = challenge["opaque"]
    if qops:
        quoted["cnonce"] = cnonce
        bare |= {"qop": "auth", "nc": count}
    fields = [f"{name}={build_quoted_string(value)}" for name, value in quoted.items()]
    return "Digest " + ", ".join(fields + [f"{name}={value}" for name, value in bare.items()])


def ntlm_is_installed() -> bool:
    """Return whether pyspnego is installed (`pip install 'hubble-tunnel[ntlm]'`)."""
    return importlib.util.find_spec("spnego") is not None


def ntlm(credentials: Credentials, proxy_host: str, ask: Callable[[str], list[Challenge]]) -> str:
    """Return the last `Proxy-Authorization` of an NTLM exchange. `ask` sends one and returns the challenges in reply.

    The exchange uses one connection. Raises `DialError`, whose text is the end of a sentence.
    """
    try:
        import spnego
        from spnego.exceptions import SpnegoError
    except ImportError:
        raise DialError("it requires NTLM, which needs another package: pip install 'hubble-tunnel[ntlm]'") from None
    try:
        client = spnego.client(*credentials, hostname=proxy_host, service="HTTP", protocol="ntlm")
        offered = ask(_ntlm_header(client.step()))
        tokens = [challenge.token for challenge in offered if challenge.scheme == "ntlm"]
        return _ntlm_header(client.step(base64.b64decode("".join(tokens), validate=True)))
    except (ValueError, SpnegoError) as error:
        raise DialError(f"the NTLM exchange with it failed: {error}") from error


def _ntlm_header(token: bytes | None) -> str:
    return "NTLM " + base64.b64encode(token or b"").decode("ascii")


def _unquoted(value: str) -> str:
    return value[1:-1] if value[:1] == '"' else value  # parse_http_list has removed the escapes
