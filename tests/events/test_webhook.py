from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.pywsgi import WSGIServer

from hubble.base.errors import UsageError
from hubble.events.spool import Spool
from hubble.events.webhook import WebhookLogger
from tests.support.samples import EVENTS
from tests.support.tunnels import eventually

SECRET = b"a secret of the receiver's"


class Receiver:
    """Answers with `status`, and keeps what it accepts: (headers, body)."""

    def __init__(self) -> None:
        self.status = "204 No Content"
        self.accepted: list[tuple[dict[str, str], bytes]] = []
        self.asked = 0
        self.server = WSGIServer(("127.0.0.1", 0), self._serve, log=None)
        self.server.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=abc"

    def _serve(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        self.asked += 1
        if self.status.startswith("2"):
            headers = {key: value for key, value in environ.items() if key.startswith("HTTP_")}
            self.accepted.append((headers, body))
        start_response(self.status, [("Content-Length", "0")])
        return []

    def kinds(self, bodies: list[bytes] | None = None) -> list[str]:
        bodies = [body for _, body in self.accepted] if bodies is None else bodies
        return [event["event"] for body in bodies for event in json.loads(body)["events"]]

    def distinct(self) -> list[bytes]:
        """The accepted bodies, each once: a logger that ends while it delivers leaves the batch to its successor."""
        return list({headers["HTTP_X_HUBBLE_DELIVERY"]: body for headers, body in self.accepted}.values())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.stop()


def test_a_batch_is_signed(receiver: Receiver) -> None:
    logger = WebhookLogger(receiver.url, secret=SECRET)
    logger.log_all(EVENTS)
    headers, body = receiver.accepted[0]
    assert receiver.kinds() == [event.name for event in EVENTS]
    seconds, signed = (part.partition("=")[2] for part in headers["HTTP_X_HUBBLE_SIGNATURE"].split(","))
    assert signed == hmac.new(SECRET, seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["HTTP_X_HUBBLE_DELIVERY"]


def test_without_a_spool_it_is_tried_again(receiver: Receiver) -> None:
    logger = WebhookLogger(receiver.url, retry=0.02)
    receiver.status = "503 Service Unavailable"
    waiting = gevent.spawn(logger.log_all, EVENTS[:2])
    eventually(lambda: receiver.asked >= 3, "it is tried again")
    receiver.status = "200 OK"
    waiting.get(timeout=5)
    assert receiver.kinds() == [event.name for event in EVENTS[:2]]
    assert logger.dropped == 0


def test_what_the_receiver_refuses_is_counted(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    logger = WebhookLogger(receiver.url)
    for receiver.status in ("400 Bad Request", "302 Found"):
        logger.log_all(EVENTS[:3])
    assert logger.dropped == 6
    assert "rejected events with status 400" in caplog.text
    assert "token" not in caplog.text


def test_the_spool_keeps_batches_in_order_over_a_restart(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = "500 Internal Server Error"
    first = WebhookLogger(receiver.url, spool=Spool(tmp_path), retry=0.02)
    for event in EVENTS[:5]:
        first.log(event)
    first.close()
    assert len(Spool(tmp_path)) == 5 and first.dropped == 0
    second = WebhookLogger(receiver.url, spool=Spool(tmp_path), retry=0.02)
    second.log(EVENTS[5])
    receiver.status = "204 No Content"
    eventually(lambda: len(receiver.distinct()) == 6, "everything is delivered")
    assert receiver.kinds(receiver.distinct()) == [event.name for event in EVENTS[:6]]
    eventually(lambda: not len(Spool(tmp_path)), "the spool is empty")
    second.log(EVENTS[6])
    eventually(lambda: len(receiver.distinct()) == 7, "it goes straight on")
    second.close()


def test_two_workers_deliver_each_batch_once(receiver: Receiver, tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for number in range(40):
        assert spool.add(b'{"events": [{"event": "%d"}]}' % number)
    loggers = [WebhookLogger(receiver.url, spool=Spool(tmp_path)) for _ in range(2)]
    eventually(lambda: not len(spool), "the spool is empty")
    assert sorted(map(int, receiver.kinds())) == list(range(40))
    for logger in loggers:
        logger.close()


def test_a_spool_has_room_again_for_what_others_have_delivered(tmp_path: Path) -> None:
    one, other = (Spool(tmp_path, max_bytes=1000) for _ in range(2))
    for _ in range(30):
        assert one.add(b"x" * 100)
        with other.oldest() as batch:
            assert batch is not None
            other.done(batch[0])


def test_processes_share_the_room_of_a_spool(tmp_path: Path) -> None:
    spools = [Spool(tmp_path, max_bytes=1000) for _ in range(4)]
    added = [spool.add(b"x" * 100) for _ in range(10) for spool in spools]
    assert sum(added) == 10


def test_a_full_spool_counts_what_it_cannot_keep(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = "500 Internal Server Error"
    logger = WebhookLogger(receiver.url, spool=Spool(tmp_path, max_bytes=1000), retry=5)
    for _ in range(4):
        logger.log_all(EVENTS[3:5])
    assert logger.dropped >= 2
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000
    logger.close()


@pytest.mark.parametrize("url", ["http://example.com/hook", "https://", "https:///path"])
def test_what_is_no_receiver(url: str) -> None:
    with pytest.raises(UsageError, match="is invalid; write https://host/path"):
        WebhookLogger(url)


def test_what_happens_while_batches_wait_goes_behind_them(receiver: Receiver, tmp_path: Path) -> None:
    logger = WebhookLogger(receiver.url, spool=Spool(tmp_path), retry=0.3)
    receiver.status = "500 Internal Server Error"
    logger.log(EVENTS[0])
    eventually(lambda: receiver.asked == 2, "the spool has been tried")
    receiver.status = "204 No Content"
    logger.log(EVENTS[1])
    eventually(lambda: len(receiver.accepted) == 2, "both are delivered")
    assert receiver.kinds() == [EVENTS[0].name, EVENTS[1].name]
    logger.close()


def test_a_spool_in_a_read_only_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("hubble.events.spool.tempfile.TemporaryFile", read_only)
    with pytest.raises(UsageError, match=r"cannot use the spool directory .*: Read-only file system"):
        Spool(tmp_path)


def test_a_full_disk_under_a_spool_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("hubble.events.spool.write_atomically", full)
        assert not any(spool.add(b"batch") for _ in range(10))
    assert spool.add(b"batch")
    assert len(caplog.records) == 2
