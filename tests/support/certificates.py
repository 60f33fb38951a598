"""Certificates for tests, as the PEM files that the options take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme


@dataclass(frozen=True)
class Identity:
    """A certificate with its key."""

    cert: str
    key: str


class Authority:
    """A certificate authority whose files are in `directory`."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self._ca = trustme.CA(organization_name=name)
        self._directory = directory
        self.file = str(directory / f"{name}.pem")
        self._ca.cert_pem.write_to_path(self.file)
        self._issued = 0

    def issue(self, *names: str, **how: Any) -> Identity:
        """A certificate for host names, addresses or e-mail addresses; `how` is trustme's."""
        self._issued += 1
        stem = Path(self.file).stem
        cert = self._directory / f"{stem}-{self._issued}.pem"
        key = self._directory / f"{stem}-{self._issued}.key"
        leaf = self._ca.issue_cert(*names, **how)
        cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(key)
        return Identity(str(cert), str(key))
