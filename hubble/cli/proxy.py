"""hubble-proxy."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial

from hubble.cli import admin_client, hash_key, logs
from hubble.cli.admin_options import add_admin_options, open_admin
from hubble.cli.arguments import Parser, seconds
from hubble.cli.cluster_options import add_cluster_options, cluster
from hubble.cli.events_options import add_events_options
from hubble.cli.observing import observe
from hubble.cli.policy_options import add_policy_options, policy
from hubble.cli.proxy_options import add_world_options, proxy_options
from hubble.cli.running import reload_on_signal, run, spare_the_collector, stop_on_signals, write_ports
from hubble.proxy.proxy import DEFAULT_LISTEN, Proxy
from hubble.transport.addresses import endpoint

PROGRAM = "hubble-proxy"

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"hash-key": hash_key.main, **admin_client.COMMANDS}
"""What `hubble-proxy` does besides serving, by its first argument."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the proxy; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in COMMANDS:
        return COMMANDS[arguments[0]](arguments[1:])
    options = parser().parse_args(arguments)
    logs.set_up(options.log_level, options.log_format)
    return run(PROGRAM, lambda: _serve(options))


def parser() -> Parser:
    """The proxy's arguments."""
    parser = Parser(PROGRAM, "The public server of Hubble, to which agents dial out.")
    parser.option("listen", default=DEFAULT_LISTEN, metavar="ADDRESS", help="[host]:port; :8080 unless given")
    parser.option("drain", type=seconds, metavar="S",
                  help="how long agents may take to move to another proxy, at SIGTERM; none unless given")  # fmt: skip
    add_policy_options(parser)
    add_world_options(parser)
    add_cluster_options(parser)
    add_events_options(parser)
    add_admin_options(parser)
    return parser


def _serve(options: Namespace) -> None:
    proxy = Proxy(options.listen, policy(options), options=proxy_options(options), cluster=cluster(options))
    ports = observe(proxy, options, open_admin(options, None))
    stop_on_signals(partial(proxy.drain, options.drain) if options.drain else proxy.stop)
    reload_on_signal(proxy.reload)
    spare_the_collector()
    host, port = proxy.start()
    write_ports(options.ports_file, {"listen": endpoint(host, port), **ports})
    proxy.wait()
