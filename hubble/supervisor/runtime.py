"""The private directory of what the workers of a proxy share: their directory, their sockets, the admin token."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from hubble.errors import UsageError

VARIABLE = "HUBBLE_RUNTIME_DIR"
LONGEST = 85
"""Characters of its path: a socket's address has at most 107, and the names within it have up to 21."""
LOCK, CONTROL = "lock", "control.sock"
KEPT = "blocked.json"
"""What outlives the proxy."""


def base() -> Path:
    """Where the directories of this user's proxies are, unless told otherwise."""
    given = os.environ.get("XDG_RUNTIME_DIR") or ("/run" if os.access("/run", os.W_OK) else "")
    return Path(given) / "hubble" if given else Path(tempfile.gettempdir()) / f"hubble-{os.getuid()}"


def default_directory(host: str, port: int) -> Path:
    """The directory of the proxy that listens there, unless told otherwise: by its port, which only one can have."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    return base() / (f"{host.replace(':', '.')}-{port}" if host else str(port))


def running() -> list[Path]:
    """The directories below `base` in which a proxy runs, or has been killed."""
    return sorted(path.parent for path in base().glob(f"*/{CONTROL}"))


class RuntimeDir:
    """One such directory, made if need be, for this user alone. Raises UsageError for one that others could change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1
        if len(str(path)) > LONGEST:
            raise UsageError(f"the runtime directory {path} has too long a path: at most {LONGEST} characters, please")
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.stat()
        except OSError as error:
            raise UsageError(f"the runtime directory {path} cannot be made: {error.strerror}") from error
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise UsageError(f"the runtime directory {path} must be this user's alone: its mode should be 700")

    @property
    def control(self) -> Path:
        """Where a successor finds the supervisor."""
        return self.path / CONTROL

    @property
    def was_left(self) -> bool:
        """Whether a proxy has ended here without having cleaned up: what it has left may not be gone yet."""
        return self.control.exists()

    def lock(self) -> bool:
        """Take the directory, for as long as this process, or one that it gave `lock_descriptor` to, lives.

        False if another proxy has it. What a proxy that was killed has left in it is removed.
        """
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    @property
    def lock_descriptor(self) -> int:
        """The lock, which several processes may hold together."""
        return self._lock

    def share_lock(self, descriptor: int) -> None:
        """Hold the lock that another process has given."""
        self._lock = descriptor

    def clean(self) -> None:
        """Remove what a proxy that was killed has left; the lock must be held."""
        for path in self.path.iterdir():
            if path.name not in (KEPT, LOCK) and not path.is_dir():
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """The proxy has ended, and nobody has taken it over: nothing is left but what is to outlive it."""
        self.clean()
        for path in (*(self.path / "slots").glob("*"), self.path / LOCK):
            path.unlink(missing_ok=True)
        for directory in (self.path / "slots", self.path):
            try:
                directory.rmdir()
            except OSError:
                continue  # never made, or not empty
