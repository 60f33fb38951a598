"""What one run of an authorization script may use."""

from __future__ import annotations

from dataclasses import dataclass

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one run; passing any of them denies, except `body`, which is an error the script can handle.

    total: seconds from start to end, waiting for HTTP included.
    cpu: seconds of CPU in Lua and in the module json.
    memory: bytes that the script's values may take.
    total_memory: the same for all runs at once.
    body: bytes of one HTTP response's body, and of one text for json.decode.
    batch: requests in one http.request_batch.
    log_lines: lines that one run may log.
    log_rate: lines a second that all runs may log.
    concurrency: runs at once; more wait, within their own `total`.
    """

    total: float = 10.0
    cpu: float = 0.05
    memory: int = 16 * MEBIBYTE
    total_memory: int = 256 * MEBIBYTE
    body: int = MEBIBYTE
    batch: int = 100
    log_lines: int = 100
    log_rate: int = 100
    concurrency: int = 1000
