"""Names for keys that logs and events may show."""

from __future__ import annotations

import hashlib
import re
import secrets
from urllib.parse import quote, quote_plus

_secret = secrets.token_bytes(32)


def set_digest_secret(secret: bytes) -> None:
    """Makes digests comparable between processes and runs that set the same secret; else each process has its own."""
    global _secret
    if not 16 <= len(secret) <= 64:
        raise ValueError("a digest secret needs 16 to 64 bytes")
    _secret = secret


def secret_digest(text: str) -> bytes:
    """A keyed digest (BLAKE2b, RFC 7693) of 32 bytes: equal for equal texts, no use to anyone without the secret."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=_secret, digest_size=32).digest()


def key_digest(key: str) -> str:
    """12 hexadecimal digits that stand for `key` in logs and events; "" for no key."""
    return secret_digest(key).hex()[:12] if key else ""


SHORT = 4  # characters below which a key may be a part of any word


def without_key(text: str, key: str) -> str:
    """`text` with each occurrence of `key`, as it is or percent-encoded, replaced by its digest.

    A key shorter than SHORT is replaced where it stands alone: else a key "e" would leave no message readable.
    """
    if not (key and text):
        return text
    shown = f"[key {key_digest(key)}]"
    for form in sorted({key, quote(key, safe="", errors="replace"), quote_plus(key, errors="replace")}, key=len):
        pattern = re.escape(form) if len(key) >= SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"
        text = re.sub(pattern, shown, text)
    return text
