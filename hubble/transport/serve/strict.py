"""pywsgi with strict parsing of request heads, and with one rate-limited log line for each failure."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any

from gevent.pywsgi import WSGIHandler, WSGIServer, headers_factory

from hubble.base.floodlog import FloodLog
from hubble.transport.serve.head import BadRequest, check_request_line, read_headers

log = logging.getLogger(__name__)

ACCEPT_PAUSE = 0.1
"""Seconds before a server accepts again after `accept` failed, most often because of too many open files."""


class StrictHandler(WSGIHandler):  # type: ignore[misc]  # the library has no types
    """One HTTP connection whose request heads are parsed by hubble/transport/serve/head.py."""

    def MessageClass(self, file: Any, *_: Any) -> Any:
        return headers_factory(BytesIO(read_headers(file, self.request_version)))

    def read_request(self, raw_requestline: str) -> Any:
        check_request_line(raw_requestline)
        return super().read_request(raw_requestline)

    def _handle_client_error(self, error: Exception) -> tuple[str, bytes]:
        """Answer a malformed head or body. The library calls this hook."""
        if not isinstance(error, ValueError | OSError):
            self._log_error(type(error), error, error.__traceback__)
        if not isinstance(error, BadRequest):
            error = BadRequest("the request is malformed")
        self.note(f"requests refused with {error.status[:3]}", "refused a request from %s: %s", self.peer, error)
        return error.status, error.response()

    @property
    def peer(self) -> str:
        """The address of the peer."""
        address = self.client_address
        return str(address[0]) if isinstance(address, tuple) and address else "a local client"

    def note(self, kind: str, message: str, *arguments: object, level: int = logging.INFO) -> None:
        """Log an action of a stranger: a few lines of each `kind` and network in an interval."""
        self.server.flood.log(level, kind, self.peer, message, *arguments)

    def log_error(self, msg: str, *args: Any) -> None:
        self.note("HTTP errors", "a request from %s: " + msg, self.peer, *args)

    def log_request(self) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s", self.format_request())


class StrictServer(WSGIServer):  # type: ignore[misc]  # the library has no types
    """A pywsgi server that logs a failed `accept` in one line, and retries."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.flood = FloodLog(log)
        """The log for actions of strangers."""
        super().__init__(*arguments, log=None, error_log=log, **options)

    def do_read(self) -> Any:
        try:
            return super().do_read()
        except OSError as error:
            if self.is_fatal_error(error):
                raise
            self.accept_failed(error)
            return None

    def accept_failed(self, error: OSError) -> None:
        """Log the failure, and pause accepting for ACCEPT_PAUSE seconds."""
        why = error.strerror or error
        self.flood.log(logging.ERROR, "cannot accept a connection", "", "cannot accept a connection: %s", why)
        self.stop_accepting()
        self._timer = self.loop.timer(ACCEPT_PAUSE)
        self._timer.start(self._start_accepting_if_started)
