"""pywsgi, but that heads are read strictly, and that what goes wrong is one log line of a bounded rate."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any

from gevent.pywsgi import WSGIHandler, WSGIServer, headers_factory

from hubble.base.floodlog import FloodLog
from hubble.transport.serve.head import BadRequest, check_request_line, read_headers

log = logging.getLogger(__name__)

ACCEPT_PAUSE = 0.1
"""Seconds for which a server that cannot accept (too many open files, mostly) leaves the next connection waiting."""


class StrictHandler(WSGIHandler):  # type: ignore[misc]  # the library has no types
    """One HTTP connection whose requests have heads as hubble/transport/serve/head.py reads them."""

    def MessageClass(self, file: Any, *_: Any) -> Any:
        return headers_factory(BytesIO(read_headers(file, self.request_version)))

    def read_request(self, raw_requestline: str) -> Any:
        check_request_line(raw_requestline)
        return super().read_request(raw_requestline)

    def _handle_client_error(self, error: Exception) -> tuple[str, bytes]:
        """The library's hook for a head or a body that is malformed."""
        if not isinstance(error, ValueError | OSError):
            self._log_error(type(error), error, error.__traceback__)
        if not isinstance(error, BadRequest):
            error = BadRequest("the request is malformed")
        self.note(f"requests refused with {error.status[:3]}", "a request from %s is refused: %s", self.peer, error)
        return error.status, error.response()

    @property
    def peer(self) -> str:
        """The address at the other end."""
        address = self.client_address
        return str(address[0]) if isinstance(address, tuple) and address else "a local client"

    def note(self, kind: str, message: str, *arguments: object, level: int = logging.INFO) -> None:
        """Log what a stranger did: a few lines for each `kind` and network in a while."""
        self.server.flood.log(level, kind, self.peer, message, *arguments)

    def log_error(self, msg: str, *args: Any) -> None:
        self.note("HTTP errors", "a request from %s: " + msg, self.peer, *args)

    def log_request(self) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s", self.format_request())


class StrictServer(WSGIServer):  # type: ignore[misc]  # the library has no types
    """A pywsgi server that says in one line that it cannot accept, and tries again."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.flood = FloodLog(log)
        """For what strangers do."""
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
        """Log it, and accept nothing for a while."""
        why = error.strerror or error
        self.flood.log(logging.ERROR, "cannot accept a connection", "", "cannot accept a connection: %s", why)
        self.stop_accepting()
        self._timer = self.loop.timer(ACCEPT_PAUSE)
        self._timer.start(self._start_accepting_if_started)
