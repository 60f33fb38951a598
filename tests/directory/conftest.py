"""Every implementation of Directory, to be put through the same tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hubble.directory import Directory, LocalDirectory
from hubble.directory.redis import RedisDirectory
from hubble.directory.sqlite import SQLiteDirectory
from tests.support.redisserver import RedisServer

LEASE = 0.5
Opener = Callable[[], Directory]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all; `open_redis` empties it."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture
def open_sqlite(tmp_path: Path) -> Iterator[Opener]:
    opened: list[Directory] = []

    def open_it() -> Directory:
        opened.append(SQLiteDirectory(tmp_path / "directory.sqlite", lease=LEASE))
        return opened[-1]

    yield open_it
    for directory in opened:
        directory.close()


@pytest.fixture
def open_redis(redis_server: RedisServer) -> Iterator[Opener]:
    opened: list[RedisDirectory] = []
    probe = RedisDirectory(redis_server.url)
    probe._redis.flushall()
    probe.close()

    def open_it() -> Directory:
        opened.append(RedisDirectory(redis_server.url, lease=LEASE))
        return opened[-1]

    yield open_it
    for directory in opened:
        directory.close()


@pytest.fixture(params=["sqlite", "redis"])
def open_shared(request: pytest.FixtureRequest) -> Opener:
    """Opens the same directory as often as wanted: one for each worker."""
    opener: Opener = request.getfixturevalue(f"open_{request.param}")
    return opener


@pytest.fixture(params=["local", "sqlite", "redis"])
def directory(request: pytest.FixtureRequest) -> Directory:
    if request.param == "local":
        return LocalDirectory()
    opener: Opener = request.getfixturevalue(f"open_{request.param}")
    return opener()
