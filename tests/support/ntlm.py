"""Squid's NTLM helper, with pyspnego's server behind it: the check that a domain controller makes elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import spnego
from gevent import socket
from gevent.server import StreamServer

from tests.support import programs


@contextmanager
def ntlm_helper(directory: Path, user: str, password: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The `auth_param` lines; `user` is `DOMAIN\\name`. Squid runs the helper as a user that may not run our Python,

    so the helper is a netcat to a socket of ours, on which squid's helper protocol is spoken.
    """
    domain, _, name = user.partition("\\")
    (directory / "users").write_text(f"{domain}:{name}:{password}\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(directory / "users"))
    path = str(directory / "ntlm.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    Path(path).chmod(0o777)
    listener.listen()
    server = StreamServer(listener, _serve)
    server.start()
    try:
        yield f"auth_param ntlm program {programs.require('nc')} -U {path}\nauth_param ntlm children 1 startup=1"
    finally:
        server.stop(timeout=0)


def _serve(sock: Any, _address: object) -> None:
    context: Any = None
    for line in sock.makefile("r"):
        command, _, token = line.strip().partition(" ")
        if command == "YR":
            context = spnego.server(protocol="ntlm")
        try:
            answer = context.step(base64.b64decode(token))
        except spnego.exceptions.SpnegoError as error:
            reply = f"NA {error.__class__.__name__}"
        else:
            reply = f"AF {context.client_principal}" if context.complete else f"TT {base64.b64encode(answer).decode()}"
        sock.sendall(f"{reply}\n".encode())
