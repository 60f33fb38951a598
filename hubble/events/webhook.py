"""Sends events to an HTTP receiver in signed batches, with retries, and keeps them on disk while it is unreachable."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import random
import secrets
import time
from collections.abc import Sequence
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

import gevent
import requests
from gevent import monkey
from gevent.event import Event as Flag

from hubble.base.errors import PatchingMissing, UsageError
from hubble.base.keepalive import keep_running
from hubble.events.model import Event
from hubble.events.spool import Spool
from hubble.events.text import lines

log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds to connect to the receiver, and seconds to wait for its answer."""
RETRY_FIRST, RETRY_MOST = 1.0, 60.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SIGNATURE, DELIVERY = "X-Hubble-Signature", "X-Hubble-Delivery"


class Outcome(Enum):
    """The result of one attempt."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """The receiver rejects the batch permanently."""
    LATER = "later"


class WebhookLogger:
    """POSTs batches, `{"events": [...]}`, to `url`.

    With a `secret`, X-Hubble-Signature is `t=SECONDS,v1=HEX`: the HMAC-SHA256 of "SECONDS.BODY". X-Hubble-Delivery
    names the batch, which may arrive twice. With a `spool`, batches wait there while the receiver is unreachable.
    Without one, events wait in memory, as many as the logger's queue holds. `dropped` counts lost events.
    """

    def __init__(
        self, url: str, *, secret: bytes = b"", spool: Spool | None = None, retry: float = RETRY_FIRST
    ) -> None:
        parts = urlsplit(url)
        if not parts.hostname or (parts.scheme == "http" and parts.hostname not in LOOPBACK):
            raise UsageError(f"the event receiver {shown(url)} is invalid; write https://host/path")
        if not monkey.is_module_patched("socket"):
            raise PatchingMissing(
                "an https event receiver needs gevent's monkey-patching; call gevent.monkey.patch_all() first"
            )
        self.dropped = 0
        self._url = url
        self._shown = shown(url)
        self._secret = secret
        self._spool = spool
        self._retry = retry
        self._session = requests.Session()
        self._away = Flag()
        self._spooler: gevent.Greenlet | None = None
        if spool is not None:
            self._spooler = keep_running("delivering spooled events", self._deliver_spooled, spool)
            if len(spool):
                self._away.set()

    def __repr__(self) -> str:
        return f"<WebhookLogger {self._shown}>"

    def log(self, event: Event) -> None:
        """Deliver one event."""
        self.log_all([event])

    def log_all(self, events: Sequence[Event]) -> None:
        """Deliver events or spool them. Without a spool, wait until they are delivered or rejected."""
        body = b'{"events": [' + b",".join(lines(events)) + b"]}"
        if self._spool is not None:
            self._deliver_or_spool(self._spool, body, len(events))
            return
        name, delay = secrets.token_hex(16), self._retry
        while (outcome := self._post(name, body)) is Outcome.LATER:
            gevent.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, RETRY_MOST)
        if outcome is Outcome.REFUSED:
            self.dropped += len(events)

    def close(self) -> None:
        """Stop. Spooled batches are delivered after the next start."""
        if self._spooler is not None:
            self._spooler.kill()
        self._session.close()

    def _deliver_or_spool(self, spool: Spool, body: bytes, size: int) -> None:
        """Deliver a batch, or put it behind the spooled ones, to keep the order."""
        outcome = Outcome.LATER if self._away.is_set() else self._post(secrets.token_hex(16), body)
        if outcome is Outcome.REFUSED or (outcome is Outcome.LATER and not spool.add(body)):
            self.dropped += size
        elif outcome is Outcome.LATER:
            self._away.set()

    def _deliver_spooled(self, spool: Spool) -> None:
        """Deliver spooled batches. Runs in its own greenlet."""
        delay = self._retry
        while True:
            self._away.wait()
            with spool.oldest() as batch:
                outcome = Outcome.ACCEPTED if batch is None else self._post(*batch)
                if batch is not None and outcome is not Outcome.LATER:
                    spool.done(batch[0])
            if batch is None:
                self._away.clear()
            elif outcome is Outcome.REFUSED:
                self.dropped += len(json.loads(batch[1])["events"])
            elif outcome is Outcome.LATER:
                gevent.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(2 * delay, RETRY_MOST)
                continue
            delay = self._retry

    def _post(self, name: str, body: bytes) -> Outcome:
        headers = {"Content-Type": "application/json", "User-Agent": "hubble", DELIVERY: name}
        if self._secret:
            headers[SIGNATURE] = signature(self._secret, body, int(time.time()))
        try:
            answer = self._session.post(self._url, body, headers=headers, timeout=TIMEOUT, allow_redirects=False)
        except requests.RequestException as error:
            self._complain(f"is unreachable ({type(error).__name__}); events wait")
            return Outcome.LATER
        if answer.ok and answer.status_code < 300:
            self._said = ""
            return Outcome.ACCEPTED
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            self._complain(f"answered with status {answer.status_code}; events wait")
            return Outcome.LATER
        self._complain(f"rejected events with status {answer.status_code}")
        return Outcome.REFUSED

    _said = ""

    def _complain(self, what: str) -> None:
        if what != self._said:
            log.warning("event receiver %s %s", self._shown, what)
        self._said = what


def signature(secret: bytes, body: bytes, seconds: int) -> str:
    """Return the value of X-Hubble-Signature for a body sent at `seconds` since 1970."""
    signed = hmac.new(secret, str(seconds).encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={signed}"


def shown(url: str) -> str:
    """Return the URL without its possible secrets: user, password and query."""
    parts: Any = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
