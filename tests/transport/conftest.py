"""Fixtures of the transport's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.pairs import KINDS, Pair, Pairs


@pytest.fixture(scope="session")
def all_pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pairs]:
    pairs = Pairs(tmp_path_factory.mktemp("pairs"))
    yield pairs
    pairs.close()


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, all_pairs: Pairs) -> Iterator[Pair]:
    """Two connected sockets, once of each kind."""
    pair = all_pairs.make(request.param)
    yield pair
    pair.close()


@pytest.fixture
def memory_pair(all_pairs: Pairs) -> Iterator[Pair]:
    """Two connected sockets of the plainest kind, for what does not depend on it."""
    pair = all_pairs.make("memory")
    yield pair
    pair.close()


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def other_ca(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "other")
