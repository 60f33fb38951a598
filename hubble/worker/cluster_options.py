"""The options of a proxy that runs on several machines."""

from __future__ import annotations

import logging
import os
import re
from argparse import Namespace
from pathlib import Path

from hubble.base.errors import UsageError
from hubble.mesh.cluster import Cluster, default_node
from hubble.mesh.tls import MeshTLS
from hubble.options.proxy import FROM_FILE

log = logging.getLogger(__name__)

VARIABLE = "HUBBLE_CLUSTER"


def cluster(options: Namespace) -> Cluster | None:
    """Return the cluster settings, or None if the proxy runs on this machine only. Raises UsageError."""
    given = options.cluster or os.environ.get(VARIABLE)
    if not given:
        for name in ("node_name", "advertise", "cluster_secret_file", "cluster_ca", "cluster_cert", "cluster_key"):
            if getattr(options, name):
                raise UsageError(f"--{name.replace('_', '-')} needs --cluster")
        return None
    url = _read(given.removeprefix(FROM_FILE), "--cluster").decode() if given.startswith(FROM_FILE) else given
    host, port = _advertised(options.advertise or "")
    path = options.cluster_secret_file
    secret = _read(path, "--cluster-secret-file") if path else b""
    return Cluster(url, options.node_name or default_node(), host, port, secret, _tls(options))


def _tls(options: Namespace) -> MeshTLS | None:
    if options.cluster_ca is None and options.cluster_cert is None and options.cluster_key is None:
        return None
    if options.cluster_ca is None or options.cluster_cert is None:
        raise UsageError("TLS between machines needs both --cluster-ca and --cluster-cert")
    return MeshTLS(options.cluster_cert, options.cluster_key, options.cluster_ca)


def _advertised(text: str) -> tuple[str, int]:
    """Return the host, or "" if there is none, and the port, or 0 for any."""
    match = re.fullmatch(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s]*)(?::(?P<port>\d{1,5}))?", text)
    if match is None:
        raise UsageError(
            f"invalid --advertise {text!r}: write for example 192.0.2.1:7000, [2001:db8::1]:7000 or a host"
        )
    return match["host"].strip("[]"), int(match["port"] or 0)


def _read(path: str, option: str) -> bytes:
    """Read a secret file, without surrounding whitespace. Errors never show the content. Raises UsageError."""
    try:
        if Path(path).stat().st_mode & 0o077:
            log.warning("%s: other users of this machine can read %s; run chmod 600 on it", option, path)
        content = Path(path).read_bytes().strip()
    except OSError as error:
        raise UsageError(f"{option}: cannot read {path}: {error.strerror}") from error
    if not content:
        raise UsageError(f"{option}: {path} is empty")
    return content
