"""The private directory that the workers of a proxy share: the gateway directory, their sockets, the admin token."""

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
"""The longest path in bytes: a Unix socket's address has at most 107, and file names in the directory have up to 21."""
LOCK_PATIENCE = 0.2
"""Seconds to wait for a lock that may only be held by `is_locked` in another program."""
LOCK, CONTROL, SLOTS = "lock", "control.sock", "slots"
DIRECTORY = "directory.sqlite"
"""Which worker holds which gateway (hubble.directory)."""
ADMIN = "admin.json"
"""The API's address and token, readable by the owner only: a JSON object of `address` (host:port) and `token`."""
BLOCKED = "blocked.json"
"""The names of blocked gateways. It outlives the proxy."""
KEYS_SECRET, KEYS_KNOWN = "keys.secret", "keys.known"
"""Digests of verified keys, and the secret for making them (hubble.policy). They outlive the proxy."""
SOCKET, NOT_LISTENING = ".sock", ".new"
"""Suffixes of sockets, and of sockets that do not listen yet."""
OURS = re.compile(
    rf"(control|[0-9a-f]{{16}})({re.escape(SOCKET)}|{re.escape(NOT_LISTENING)})|{re.escape(DIRECTORY)}(-\w+)?"
    rf"|{re.escape(ADMIN)}|\.({re.escape(ADMIN)}|{re.escape(BLOCKED)})\.\d+"
)
"""Files that are removed with the proxy, besides the lock and the slots. Other files stay."""


def worker_socket(directory: Path, worker_id: str) -> Path:
    """Return the path of the socket on which a worker listens for the other workers."""
    return directory / f"{worker_id}{SOCKET}"


def worker_sockets(directory: Path) -> list[tuple[Path, str]]:
    """Return all sockets of workers, each with the worker's id."""
    return [(path, path.stem) for path in directory.glob(f"*{SOCKET}") if path.name != CONTROL]


def listen_at(listener: socket.socket, path: Path, backlog: int) -> None:
    """Have a Unix socket listen at `path`. The path appears only afterwards, so that no connection to it is refused."""
    early = path.with_suffix(NOT_LISTENING)
    early.unlink(missing_ok=True)
    listener.bind(str(early))
    listener.listen(backlog)
    early.replace(path)


def base() -> Path:
    """Return the default parent of the runtime directories of this user's proxies."""
    given = os.environ.get("XDG_RUNTIME_DIR") or ("/run" if os.access("/run", os.W_OK) else "")
    return Path(given) / "hubble" if given else Path(tempfile.gettempdir()) / f"hubble-{os.getuid()}"


def default_directory(host: str, port: int) -> Path:
    """Return the runtime directory of the proxy that listens on host and port.

    The variable HUBBLE_RUNTIME_DIR takes precedence. Otherwise the port, which only one proxy can have, names it.
    """
    if given := os.environ.get(VARIABLE):
        return Path(given)
    return base() / (f"{host.replace(':', '.')}-{port}" if host else str(port))


def running() -> list[Path]:
    """Return the directories below `base` in which a proxy runs now."""
    return sorted(path.parent for path in base().glob(f"*/{LOCK}") if is_locked(path.parent))


def is_locked(directory: Path) -> bool:
    """Return whether a proxy runs with this runtime directory: it holds the lock, which the kernel frees at its end."""
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
    """A runtime directory, created if it is missing. Raises UsageError if another user could change it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.was_left = False
        """Whether an earlier proxy ended without cleaning up: some of its workers may still be running."""
        self._lock = -1
        if len(os.fsencode(path)) > LONGEST:
            raise UsageError(f"the path of the runtime directory {path} is too long; use at most {LONGEST} bytes")
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=True)
            status, parent = path.stat(), path.resolve().parent.stat()
        except OSError as error:
            raise UsageError(f"the runtime directory {path} cannot be created: {error.strerror}") from error
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise UsageError(f"the runtime directory {path} must belong to this user only; set its mode to 700")
        open_to_all = parent.st_mode & stat.S_IWOTH and not parent.st_mode & stat.S_ISVTX
        if open_to_all or parent.st_uid not in (0, os.getuid()):
            raise UsageError(
                f"another user could replace the runtime directory {path}; choose one below a directory of this user"
            )

    @property
    def control(self) -> Path:
        """The path of the socket on which a successor reaches the supervisor."""
        return self.path / CONTROL

    def lock(self) -> bool:
        """Lock the directory until this process, and each process that it gave `lock_descriptor` to, has ended.

        Return False if another proxy has it. Raises UsageError.
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
        """Call `_try_to_lock` for up to LOCK_PATIENCE seconds, because `is_locked` holds the lock for an instant."""
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                return self._try_to_lock()
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def _try_to_lock(self) -> int | None:
        """Return the descriptor of the locked file, or None if a proxy that ends is removing the directory.

        Raises BlockingIOError if the lock is held, and OSError.
        """
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
        """Create the directory and its lock again if they were removed; return whether they were. The lock is held.

        Raises BlockingIOError if another proxy has taken the directory, and OSError.
        """
        with suppress(FileNotFoundError):
            if (self.path / LOCK).stat().st_ino == os.fstat(self._lock).st_ino:
                return False
        self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = self._try_to_lock()
        if descriptor is None:
            return False  # removed once more: the next call restores it
        os.dup2(descriptor, self._lock, inheritable=False)  # the same number, because other processes know it
        os.close(descriptor)
        return True

    @property
    def lock_descriptor(self) -> int:
        """The descriptor of the lock. Several processes may hold it together."""
        return self._lock

    def share_lock(self, descriptor: int) -> None:
        """Hold the lock through a descriptor from another process."""
        self._lock = descriptor

    def clean(self) -> None:
        """Remove the files that a killed proxy left behind. The lock must be held."""
        for path in self.path.iterdir():
            if OURS.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def leave(self) -> None:
        """Release the lock. The last process to do so removes every file that need not outlive the proxy."""
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
