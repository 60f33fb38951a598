"""Small messages of registered agents, as fast as they can be sent."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from hubble.protocol.codec import encode
from hubble.protocol.messages import Ack, Credit, Done, Initiator, Stream, Suspend, Terms
from tests.hostile.drivers.raw import RawLink
from tests.support.frames import binary

PIECE = 128 * 1024
LIMIT = 1 << 18


def open_sessions(link: RawLink, service: int, count: int) -> list[bytes]:
    """Sessions through the legitimate exit to the service at a port."""
    sessions = []
    for _ in range(count):
        session = uuid.uuid4().bytes
        link.say(Initiator(session, "127.0.0.1", service, "exit", terms=Terms(1, 0, LIMIT, bytes(16))))
        while not (isinstance(message := link.hear(), Ack) and message.session == session):
            pass
        if message.ok:
            sessions.append(session)
    return sessions


def small_messages(kind: str, sessions: list[bytes], turn: int) -> list[bytes]:
    """One message for each session."""
    match kind:
        case "credit":  # each allows a little more than the last
            return [encode(Credit(session, False, 0, LIMIT + turn)) for session in sessions]
        case "stream":
            return [encode(Stream(session, False, turn, b"x")) for session in sessions]
        case "suspend":
            return [encode(Suspend(session, False)) for session in sessions]
        case _:
            return [encode(Done(session, False)) for session in sessions]


def flood(*, port: int, seconds: float, kinds: list[str], sessions: int = 0, service: int = 0) -> dict[str, int]:
    """Repeat small messages over one link for each kind, for `sessions` open sessions to `service` or unknown ones."""
    until = time.monotonic() + seconds

    def attack(number: int, kind: str) -> Counter[str]:
        counts, link = Counter[str](), RawLink(port)
        try:
            assert link.register(f"hostile-{number}").ok
            mine = open_sessions(link, service, sessions) or [uuid.uuid4().bytes for _ in range(16)]
            threading.Thread(target=drain, args=(link,), daemon=True).start()
            counts["sessions"] = len(mine)
            while time.monotonic() < until:
                piece = prepared(kind, mine, counts["messages"])
                counts["messages"] += len(piece)
                link.send(b"".join(piece))
        except OSError:
            counts["closed"] += 1
        finally:
            link.close()
        return counts

    with ThreadPoolExecutor(len(kinds)) as threads:
        return dict(sum(threads.map(attack, itertools.count(), kinds), Counter()))


def prepared(kind: str, sessions: list[bytes], turn: int) -> list[bytes]:
    """Frames of small messages, about as many as one read holds."""
    frames: list[bytes] = []
    while len(frames) * 40 < PIECE:
        frames += [binary(each, masked=True) for each in small_messages(kind, sessions, turn + len(frames))]
    return frames


def drain(link: RawLink) -> None:
    """Read whatever comes, so that nothing waits for us."""
    with suppress(OSError, ValueError):
        while link.sock.recv(1 << 18):
            pass
