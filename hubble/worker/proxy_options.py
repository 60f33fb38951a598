"""The options of the public listener: TLS, front servers, limits and fallback."""

from __future__ import annotations

import re
from argparse import Namespace

from hubble.base.errors import UsageError
from hubble.proxy.http.fallback import parse_fallback
from hubble.proxy.proxy import ProxyOptions
from hubble.transport.link import Keepalive
from hubble.transport.serve.fronts import FrontServers, parse_networks
from hubble.transport.serve.server import ServerOptions
from hubble.transport.serve.servertls import ServerTLS
from hubble.worker.policy_options import abuse_limits


def proxy_options(options: Namespace, workers: int = 1) -> ProxyOptions:
    """Return the settings of each of `workers` workers. Raises UsageError."""
    fronts = FrontServers(parse_networks(options.trusted_proxy or ()), options.proxy_protocol)
    server = ServerOptions(Keepalive.every(options.ping_interval), _tls(options), fronts, _path(options.path))
    return ProxyOptions(
        reauthorize=options.reauthorize,
        limits=abuse_limits(options).share(workers),
        server=server,
        fallback=parse_fallback(options.fallback) if options.fallback else None,
    )


def _tls(options: Namespace) -> ServerTLS | None:
    if options.tls_cert is None:
        for name in ("tls_key", "tls_client_ca", "tls_client"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} needs --tls-cert")
        return None
    if options.tls_client is not None and options.tls_client_ca is None:
        raise UsageError("--tls-client needs --tls-client-ca, the authority that issues the agents' certificates")
    return ServerTLS(options.tls_cert, options.tls_key, options.tls_client_ca, options.tls_client != "optional")


def _path(text: str | None) -> str:
    if text is None:
        return ""
    if not re.fullmatch(r"/[\x21-\x7e]*", text) or re.search(r"[?#%]", text):
        raise UsageError(f"invalid --path {text!r}: write for example /hubble")
    return text.rstrip("/")
