"""The options of a proxy towards the world: TLS, front servers, and what else is on its port."""

from __future__ import annotations

import re
from argparse import Namespace

from hubble.cli.arguments import Parser, seconds
from hubble.cli.policy_options import abuse_limits
from hubble.errors import UsageError
from hubble.proxy.fallback import parse_fallback
from hubble.proxy.proxy import ProxyOptions
from hubble.transport.fronts import FrontServers, parse_networks
from hubble.transport.link import Keepalive
from hubble.transport.server import ServerOptions
from hubble.transport.servertls import ServerTLS


def add_world_options(parser: Parser) -> None:
    """Add them to the proxy's arguments."""
    parser.option("tls-cert", metavar="FILE", help="serve wss:// with this certificate and its chain (PEM)")
    parser.option("tls-key", metavar="FILE", help="its key (PEM), unless that is in the same file")
    parser.option("tls-client-ca", metavar="FILE", help="ask agents for a certificate from an authority in FILE (PEM)")
    parser.option("tls-client", choices=("required", "optional"), metavar="required|optional",
                  help="whether they need one; required unless given")  # fmt: skip
    parser.option("trusted-proxy", action="append", metavar="CIDR",
                  help="believe what a front server at this address, or in this network, says about its clients; "
                       "may be repeated")  # fmt: skip
    parser.switch("proxy-protocol", help="expect the PROXY protocol (v1 or v2) from all trusted proxies")
    parser.option("path", metavar="/PATH", help="open links at this path and below only; anywhere unless given")
    parser.option("fallback", metavar="URL|404",
                  help="what requests that are no links' get: what the site at URL answers, or 404")  # fmt: skip
    parser.option("ping-interval", type=seconds, metavar="S", help="how often an idle link is pinged; 20 unless given")


def proxy_options(options: Namespace) -> ProxyOptions:
    """What the options say. Raises UsageError."""
    fronts = FrontServers(parse_networks(options.trusted_proxy or ()), options.proxy_protocol)
    server = ServerOptions(Keepalive.every(options.ping_interval), _tls(options), fronts, _path(options.path))
    return ProxyOptions(
        reauthorize=options.reauthorize,
        limits=abuse_limits(options),
        server=server,
        fallback=parse_fallback(options.fallback) if options.fallback else None,
    )


def _tls(options: Namespace) -> ServerTLS | None:
    if options.tls_cert is None:
        for name in ("tls_key", "tls_client_ca", "tls_client"):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} has no meaning without --tls-cert")
        return None
    if options.tls_client is not None and options.tls_client_ca is None:
        raise UsageError("--tls-client needs --tls-client-ca: the authority whose certificates agents are to show")
    return ServerTLS(options.tls_cert, options.tls_key, options.tls_client_ca, options.tls_client != "optional")


def _path(text: str | None) -> str:
    if text is None:
        return ""
    if not re.fullmatch(r"/[\x21-\x7e]*", text) or re.search(r"[?#%]", text):
        raise UsageError(f"the path {text!r} should look like /hubble")
    return text.rstrip("/")
