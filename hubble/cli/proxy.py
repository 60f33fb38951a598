"""hubble-proxy."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Sequence

from hubble.cli import logs
from hubble.cli.arguments import Parser
from hubble.cli.running import run, stop_on_signals, write_ports
from hubble.errors import UsageError
from hubble.policy import Authorizer, DenyAll, GrantAll, LuaPolicy
from hubble.proxy.proxy import DEFAULT_LISTEN, Proxy
from hubble.transport.addresses import endpoint

PROGRAM = "hubble-proxy"

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proxy; the exit status."""
    options = parser().parse_args(arguments)
    logs.set_up(options.log_level, options.log_format)
    return run(PROGRAM, lambda: _serve(options))


def parser() -> Parser:
    """The proxy's arguments."""
    parser = Parser(PROGRAM, "The public server of Hubble, to which agents dial out.")
    parser.option("listen", default=DEFAULT_LISTEN, metavar="ADDRESS", help="[host]:port; :8080 unless given")
    parser.switch("authgrant", help="grant every session")
    parser.switch("authdeny", help="deny every session")
    parser.option("authlua", metavar="SCRIPT", help="let a Lua script decide on each session")
    return parser


def authorizer(options: Namespace) -> Authorizer:
    """The policy that the options name. Raises UsageError for more than one."""
    named = [name for name in ("authgrant", "authdeny", "authlua") if getattr(options, name)]
    if len(named) > 1:
        raise UsageError(f"-{named[0]} and -{named[1]} exclude each other: give one of them")
    if options.authlua:
        return LuaPolicy(options.authlua)
    if options.authdeny:
        return DenyAll()
    if not options.authgrant:
        log.warning("no policy was given: every session is granted (-authgrant says so without this warning)")
    return GrantAll()


def _serve(options: Namespace) -> None:
    proxy = Proxy(options.listen, authorizer(options))
    stop_on_signals(proxy.stop)
    host, port = proxy.start()
    write_ports(options.ports_file, {"listen": endpoint(host, port)})
    proxy.wait()
