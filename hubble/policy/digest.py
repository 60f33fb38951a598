"""Names for keys that logs and events may show."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from urllib.parse import quote, quote_plus

_secret = secrets.token_bytes(32)


def set_digest_secret(secret: bytes) -> None:
    """Makes digests comparable between processes and runs that set the same secret; else each process has its own."""
    global _secret
    if len(secret) < 16:
        raise ValueError("a digest secret needs at least 16 bytes")
    _secret = secret


def secret_digest(text: str) -> bytes:
    """A keyed digest of 32 bytes: equal for equal texts, and of no use to anyone without the secret."""
    return hmac.digest(_secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256)


def key_digest(key: str) -> str:
    """12 hexadecimal digits that stand for `key` in logs and events; "" for no key."""
    return secret_digest(key).hex()[:12] if key else ""


SHORT = 4  # characters below which a key may be a part of any word


def without_key(text: str, key: str) -> str:
    """`text` with each occurrence of `key`, as it is or percent-encoded, replaced by its digest.

    A key shorter than SHORT is replaced where it stands alone: else a key "e" would leave no message readable.
    """
    if not key:
        return text
    shown = f"[key {key_digest(key)}]"
    for form in sorted({key, quote(key, safe="", errors="replace"), quote_plus(key, errors="replace")}, key=len):
        pattern = re.escape(form) if len(key) >= SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"
        text = re.sub(pattern, shown, text)
    return text
