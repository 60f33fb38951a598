"""Real proxies for tests, as processes: squid, tinyproxy, danted and microsocks.

None of them can bind port 0 and tell which one it got, so each is given a free port.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gevent import socket

from tests.support import programs
from tests.support.ports import free_port
from tests.support.waiting import poll

START = 20.0
"""Seconds until a proxy must answer; squid takes one or two."""

# In lower case, as squid's Basic makes it; all characters that a URL needs escaped, and a backslash that it may hold.
USER, PASSWORD = "domain\\us er", "pass:w@rd/%"
IN_URL = "domain\\us%20er:pass%3Aw%40rd%2F%25"
# Squid 5.7 takes the escapes off a Digest user twice, so that none with a backslash can log in (curl's neither).
DIGEST_USER = "üs er"
DIGEST_IN_URL = "%C3%BCs%20er:pass%3Aw%40rd%2F%25"
REALM = "out, proxy"


@contextmanager
def public_directory() -> Iterator[Path]:
    """A directory that daemons which drop root's rights can use too; pytest's own are closed to them."""
    with tempfile.TemporaryDirectory(prefix="hubble-test-") as name:
        directory = Path(name)
        directory.chmod(0o777)
        yield directory


@contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[int]:
    """The command as a process, once it answers on the port, until the block ends."""
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True) as process,
    ):

        def answers() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"{command[0]} ended at once: {log.read_text(errors='replace')}")
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        try:
            poll(answers, START, f"{command[0]} answers")
            yield port
        finally:
            # With its helpers; not asked kindly, for squid takes two seconds then.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def squid(
    auth: str = "", tls: tuple[str, str] | None = None, hosts: str = "", more: Sequence[str] = ()
) -> Iterator[int]:
    """Squid; `auth` is "", "basic", "digest" or an `auth_param` block, `tls` files for an https_port.

    `hosts` are lines as in /etc/hosts, for names that only this squid can resolve; `more` are lines of squid.conf.
    """
    program = programs.require("squid")
    port = free_port()
    with public_directory() as directory:
        listen = f"http_port 127.0.0.1:{port}"
        if tls is not None:
            cert, key = (shutil.copy(file, directory) for file in tls)
            Path(key).chmod(0o644)
            listen = f"https_port 127.0.0.1:{port} tls-cert={cert} tls-key={key}"
        (directory / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}\n")
        lines = [
            listen,
            *_squid_auth(auth, directory),
            "http_access allow signed_in" if auth else "http_access allow all",
            "http_access deny all",
            f"hosts_file {directory}/hosts",
            f"pid_filename {directory}/squid.pid",
            f"cache_log {directory}/cache.log",
            "access_log none",
            f"coredump_dir {directory}",
            "cache deny all",
            "shutdown_lifetime 0 seconds",
            "visible_hostname proxy.example",
            *more,
        ]
        config = directory / "squid.conf"
        config.write_text("\n".join(lines) + "\n")
        with running([program, "-N", "-d", "1", "-f", str(config)], port, directory / "output.log"):
            yield port


def _squid_auth(auth: str, directory: Path) -> list[str]:
    users = directory / "users"
    if auth == "basic":
        helper = programs.require("/usr/lib/squid/basic_ncsa_auth")
        hashed = subprocess.run(
            [programs.require("openssl"), "passwd", "-apr1", "-stdin"], input=PASSWORD.encode(), capture_output=True
        )
        users.write_text(f"{USER}:{hashed.stdout.decode()}")
        auth = f"auth_param basic program {helper} {users}\nauth_param basic realm {REALM}"
    elif auth == "digest":
        helper = programs.require("/usr/lib/squid/digest_file_auth")
        secret = hashlib.md5(f"{DIGEST_USER}:{REALM}:{PASSWORD}".encode(), usedforsecurity=False).hexdigest()
        users.write_text(f"{DIGEST_USER}:{REALM}:{secret}\n")
        auth = f"auth_param digest program {helper} -c {users}\nauth_param digest realm {REALM}"
    return [*auth.splitlines(), "acl signed_in proxy_auth REQUIRED"] if auth else []


@contextmanager
def tinyproxy(password: bool = False, connect_port: int | None = None) -> Iterator[int]:
    program = programs.require("tinyproxy")
    port = free_port()
    with public_directory() as directory:
        config = directory / "tinyproxy.conf"
        lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "LogLevel Info"]
        lines += ["BasicAuth user secret"] if password else []
        lines += [f"ConnectPort {connect_port}"] if connect_port else []
        config.write_text("\n".join(lines) + "\n")
        with running([program, "-d", "-c", str(config)], port, directory / "output.log"):
            yield port


@contextmanager
def danted() -> Iterator[int]:
    program = programs.require("danted")
    port = free_port()
    with public_directory() as directory:
        config = directory / "danted.conf"
        user = "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody")
        config.write_text(
            f"logoutput: stderr\ninternal: 127.0.0.1 port = {port}\nexternal: 127.0.0.1\n"
            f"clientmethod: none\nsocksmethod: none\nuser.privileged: {user}\nuser.unprivileged: {user}\n"
            "client pass { from: 0/0 to: 0/0 }\nsocks pass { from: 0/0 to: 0/0 }\n"
        )
        with running([program, "-f", str(config), "-p", str(directory / "pid")], port, directory / "output.log"):
            yield port


@contextmanager
def microsocks(user: str, password: str) -> Iterator[int]:
    program = programs.require("microsocks")
    port = free_port()
    command = [program, "-i", "127.0.0.1", "-p", str(port), "-u", user, "-P", password]
    with public_directory() as directory, running(command, port, directory / "output.log"):
        yield port
