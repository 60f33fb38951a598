"""Limits for sessions of protocol 0.1, which have no credit."""

BACKLOG = 4 * 1024 * 1024
"""Bytes that may wait for a session's local socket before its link's reader waits."""
STALL_TIMEOUT = 30.0
"""Seconds that a link's reader waits for such a session before the session is reset."""
