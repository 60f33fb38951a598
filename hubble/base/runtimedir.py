"""The private directory of what the workers of a proxy share: their directory, their sockets, the admin token."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from hubble.base.errors import UsageError

VARIABLE = "HUBBLE_RUNTIME_DIR"
LONGEST = 85
"""Bytes of its path: a socket's address has at most 107, and the names within it have up to 21."""
LOCK_PATIENCE = 0.2
"""Seconds for which a lock that is held may be that of a program which only looks."""
LOCK, CONTROL, SLOTS = "lock", "control.sock", "slots"
DIRECTORY = "directory.sqlite"
"""Which worker holds which gateway (hubble.directory)."""
ADMIN = "admin.json"
"""Where the API is and its token, for the owner alone: a JSON object of `address` (host:port) and `token`."""
BLOCKED = "blocked.json"
"""The names of blocked gateways. It outlives the proxy."""
KEYS_SECRET, KEYS_KNOWN = "keys.secret", "keys.known"
"""Digests of keys that were verified, and the secret they are made with (hubble.policy). They outlive the proxy."""
SOCKET, UNBORN = ".sock", ".new"
"""Ends of the names of sockets, and of sockets that do not listen yet."""
OURS = re.compile(
    rf"(control|[0-9a-f]{{16}})({re.escape(SOCKET)}|{re.escape(UNBORN)})|{re.escape(DIRECTORY)}(-\w+)?"
    rf"|{re.escape(ADMIN)}|\.({re.escape(ADMIN)}|{re.escape(BLOCKED)})\.\d+"
)
"""What goes with the proxy, besides the lock and the slots. Anything else is left alone."""


def worker_socket(directory: Path, worker_id: str) -> Path:
    """Return where a worker listens for the others."""
    return directory / f"{worker_id}{SOCKET}"


def worker_sockets(directory: Path) -> list[tuple[Path, str]]:
    """Return all sockets of workers, each with the worker's id."""
    return [(path, path.stem) for path in directory.glob(f"*{SOCKET}") if path.name != CONTROL]


def listen_at(listener: socket.socket, path: Path, backlog: int) -> None:
    """Have a Unix socket listen at `path`, where it appears only once it does: no connection is refused there."""
    early = path.with_suffix(UNBORN)
    early.unlink(missing_ok=True)
    listener.bind(str(early))
    listener.listen(backlog)
    early.replace(path)


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
    """Return the directories below `base` in which a proxy runs now."""
    return sorted(path.parent for path in base().glob(f"*/{LOCK}") if is_locked(path.parent))


def is_locked(directory: Path) -> bool:
    """Return whether a proxy runs with this runtime directory: it holds the lock, which the system frees at its end."""
    try:
        descriptor = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


class RuntimeDir:
    """One such directory, made if need be, for this user alone. Raises UsageError for one that others could change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.was_left = False
        """Whether a proxy has ended here without having cleaned up: what it has left may not be gone yet."""
        self._lock = -1
        if len(os.fsencode(path)) > LONGEST:
            raise UsageError(f"the runtime directory {path} has too long a path: at most {LONGEST} characters, please")
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
            status, parent = path.stat(), path.resolve().parent.stat()
        except OSError as error:
            raise UsageError(f"the runtime directory {path} cannot be made: {error.strerror}") from error
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise UsageError(f"the runtime directory {path} must be this user's alone: its mode should be 700")
        open_to_all = parent.st_mode & stat.S_IWOTH and not parent.st_mode & stat.S_ISVTX
        if open_to_all or parent.st_uid not in (0, os.getuid()):
            raise UsageError(f"the runtime directory {path} is where another user could put another in its place")

    @property
    def control(self) -> Path:
        """Where a successor finds the supervisor."""
        return self.path / CONTROL

    def lock(self) -> bool:
        """Take the directory, for as long as this process, or one that it gave `lock_descriptor` to, lives.

        False if another proxy has it. Raises UsageError.
        """
        try:
            while (descriptor := self._patiently_lock()) is None:
                continue
        except BlockingIOError:
            return False
        except OSError as error:
            raise UsageError(f"the runtime directory {self.path} cannot be locked: {error.strerror}") from error
        self._lock = descriptor
        return True

    def _patiently_lock(self) -> int | None:
        """The same as `_try_to_lock`, but for a moment: `is_locked` takes the lock for an instant."""
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                return self._try_to_lock()
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def _try_to_lock(self) -> int | None:
        """The locked file; None if a proxy that has ended removes the directory just now."""
        path = self.path / LOCK
        self.was_left = path.exists()
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def restore(self) -> bool:
        """Make the directory and its lock again if they were removed while the lock is held; whether they were.

        Raises BlockingIOError if another proxy has the directory by now, and OSError.
        """
        with suppress(FileNotFoundError):
            if (self.path / LOCK).stat().st_ino == os.fstat(self._lock).st_ino:
                return False
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = self._try_to_lock()
        if descriptor is None:
            return False  # removed once more: there is a next time
        os.dup2(descriptor, self._lock, inheritable=False)  # it keeps its number, which others know
        os.close(descriptor)
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
            if OURS.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def leave(self) -> None:
        """The proxy of this process has ended. The last one that held the lock leaves only what is to outlive it."""
        if self._lock < 0:
            return
        os.close(self._lock)
        self._lock = -1
        if self.path.exists() and self.lock():
            self._remove()
            os.close(self._lock)
            self._lock = -1

    def _remove(self) -> None:
        self.clean()
        for path in (*(self.path / SLOTS).glob("*"), self.path / LOCK):
            path.unlink(missing_ok=True)
        for directory in (self.path / SLOTS, self.path):
            try:
                directory.rmdir()
            except OSError:
                continue  # never made, or not empty
