"""The limits of authorization scripts."""

from __future__ import annotations

from dataclasses import dataclass

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one run, and of all runs of a worker.

    A run that exceeds `total`, `cpu` or `memory` denies. Beyond `body` and `batch`, the script gets an error.

    total: seconds from start to end, waiting for HTTP included.
    cpu: seconds of CPU in Lua and in the module json.
    memory: bytes that the script's values may take.
    total_memory: the same for all runs together.
    body: bytes of one HTTP response's body, and of one text for json.decode.
    batch: requests in one http.request_batch.
    log_lines: lines that one run may log.
    log_rate: lines a second that all runs may log.
    concurrency: runs at once. Further ones wait, at most `total`.
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
