"""Options of both programs."""

from __future__ import annotations

from hubble.options.option import FILE, Group, Option

LOGGING = Group(
    "Logging",
    (
        Option(
            "log-level", "Log events of this level and above.", choices=("debug", "info", "warning", "error"),
            default="info",
        ),
        Option(
            "log-format", "Write log lines as text, or as one JSON object each.", choices=("text", "json"),
            default="text",
        ),
        Option("ports-file", "Write the addresses that the program listens on to FILE, as JSON.", FILE),
    ),
)  # fmt: skip
