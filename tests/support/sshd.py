"""A real OpenSSH server, with a key of its own, for the user who runs the tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import subprocess
from pathlib import Path

from tests.support.services import Service

CONFIGURATION = """\
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
"""
CLIENT = """\
Host *
  User {user}
  IdentityFile {directory}/user_key
  IdentitiesOnly yes
  BatchMode yes
  HostKeyAlias tunnelled
  UserKnownHostsFile {directory}/known_hosts
  StrictHostKeyChecking yes
  LogLevel ERROR
"""


class Sshd:
    """Listens on `port`; each connection gets an `sshd -i`, so that the kernel can choose the port."""

    def __init__(self, sshd: str, keygen: str, directory: Path) -> None:
        self._sshd = sshd
        self._directory = directory
        for name in ("host_key", "user_key"):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
        host_key = (directory / "host_key.pub").read_text()
        (directory / "known_hosts").write_text(f"tunnelled {host_key}")
        (directory / "sshd_config").write_text(CONFIGURATION.format(directory=directory))
        self.client_configuration = directory / "ssh_config"
        self.client_configuration.write_text(CLIENT.format(directory=directory, user=getpass.getuser()))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self._service = Service(self._serve)
        self.port = self._service.port

    def options(self) -> list[str]:
        """Arguments of ssh and scp that make them trust and be trusted; a port is still to be given."""
        return ["-F", str(self.client_configuration)]

    def _serve(self, sock: socket.socket) -> None:
        os.set_blocking(sock.fileno(), True)
        with (self._directory / "sshd.log").open("ab") as log:
            command = [self._sshd, "-i", "-e", "-f", str(self._directory / "sshd_config")]
            process = subprocess.Popen(command, stdin=sock.fileno(), stdout=sock.fileno(), stderr=log)
        sock.close()
        try:
            process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    def close(self) -> None:
        self._service.close()
