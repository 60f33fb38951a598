"""Every target for a moment, always alike: `make fuzz` takes its time."""

from __future__ import annotations

import logging
import random
import time

import pytest

from tests.fuzz.mutations import corpus, mutated
from tests.fuzz.targets import TARGETS, Target

SECONDS = 1.5
INPUTS = 3000
SLOWEST = 1.0
"""Seconds of processor time for one input: what is quadratic takes longer."""


def attempt(target: Target, data: bytes) -> None:
    started = time.process_time()
    try:
        target(data)
    except Exception as error:
        pytest.fail(f"{type(error).__name__}: {error}\nfor the input {data.hex()}", pytrace=True)
    assert time.process_time() - started < SLOWEST, f"too slow for the input {data[:2000].hex()}"


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("websockets").setLevel(logging.CRITICAL)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_a_refusal_comes_of_what_is_kept(name: str) -> None:
    seeds = corpus(name)
    assert len(seeds) >= 3, "the corpus of the target is missing"
    for data in (b"", *seeds):
        attempt(TARGETS[name], data)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_a_refusal_comes_of_what_is_made_from_it(name: str) -> None:
    chance, seeds = random.Random(name), corpus(name)
    until = time.monotonic() + SECONDS
    for _ in range(INPUTS):
        if time.monotonic() > until:
            break
        attempt(TARGETS[name], mutated(chance, seeds))
