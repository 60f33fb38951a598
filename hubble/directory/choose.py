"""Opens the directory that several machines share."""

from __future__ import annotations

from hubble.base.errors import UsageError
from hubble.directory import Directory


def open_directory(url: str) -> Directory:
    """Open the directory at `url`. Raises UsageError."""
    try:
        from hubble.directory.redis import RedisDirectory
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise UsageError(
            "--cluster needs the Python package redis; install it with pip install 'hubble-tunnel[cluster]'"
        ) from None
    return RedisDirectory(url)
