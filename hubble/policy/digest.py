"""Digests that stand for keys in logs and events."""

from __future__ import annotations

import hashlib
import re
import secrets
from urllib.parse import quote, quote_plus

_secret = secrets.token_bytes(32)


def set_digest_secret(secret: bytes) -> None:
    """Set the secret of the digests, so that they are equal in all processes and runs with this secret.

    By default, each process has its own. Raises ValueError.
    """
    global _secret
    if not 16 <= len(secret) <= 64:
        raise ValueError("a digest secret needs 16 to 64 bytes")
    _secret = secret


def secret_digest(text: str) -> bytes:
    """Return a keyed digest (BLAKE2b, RFC 7693) of 32 bytes. Without the secret, no text can be tested against it."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=_secret, digest_size=32).digest()


def key_digest(key: str) -> str:
    """Return 12 hexadecimal digits that stand for `key` in logs and events, or "" for no key."""
    return secret_digest(key).hex()[:12] if key else ""


SHORT = 4
"""Characters below which a key is often a part of other words."""


def without_key(text: str, key: str) -> str:
    """Replace each `key` in `text`, plain or percent-encoded, by its digest.

    A key shorter than SHORT is replaced only as a whole word. Otherwise a key "e" would make messages unreadable.
    """
    if not (key and text):
        return text
    shown = f"[key {key_digest(key)}]"
    for form in sorted({key, quote(key, safe="", errors="replace"), quote_plus(key, errors="replace")}, key=len):
        pattern = re.escape(form) if len(key) >= SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"
        text = re.sub(pattern, shown, text)
    return text
