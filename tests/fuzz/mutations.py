"""Inputs made from those that are known: what fuzzing does where Atheris does not guide it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

CORPUS = Path(__file__).parent / "corpus"
LONGEST = 1 << 16
INTERESTING = [b"\0", b"\xff", b"\x7f", b"\x80", b"\r\n", b" ", b":", b"@", b"%00", b"[", b"]", b'"', b"\xff" * 8]
INTERESTING += [b"\0" * 8, b"\x80" * 8, "\u202e".encode(), "e\u0301".encode(), b"::1", b"0x7f.1", b"99999"]


def corpus(target: str) -> list[bytes]:
    """Return the inputs that are kept for a target."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def mutated(random: Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the seeds, changed in a few places."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        random.choice(_CHANGES)(random, data, seeds)
    return bytes(data[:LONGEST])


def _flip(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _set(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] = random.randrange(256)


def _insert(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    data[at:at] = random.choice(INTERESTING) * random.choice((1, 1, 1, 2, 60))


def _delete(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    del data[at : at + random.choice((1, 2, 4, 16, 256))]


def _repeat(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    at = random.randint(0, len(data))
    part = data[at : at + random.choice((1, 2, 4, 16, 64))]
    data[at:at] = part * random.choice((1, 2, 8, 100))


def _splice(random: Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    other = random.choice(seeds)
    data[random.randint(0, len(data)) :] = other[random.randint(0, len(other)) :]


_CHANGES: list[Callable[[Random, bytearray, Sequence[bytes]], None]] = [_flip, _set, _insert, _delete, _repeat, _splice]
