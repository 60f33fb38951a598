"""The arguments of hubble-proxy. What they mean is the business of its workers: the supervisor reads them only."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace

from hubble.cli.arguments import Parser, count, seconds, size

PROGRAM = "hubble-proxy"
DEFAULT_LISTEN = ":8080"
FILE = "@file:"
MOST_WORKERS = 512
"""Two generations of so many have slots of their own (hubble/base/slots.py) while one takes over from the other."""
COMMANDS = "status, gateways, sessions, events, kick, unblock, reload, drain; hash-key"
"""What may stand in the place of options (hubble/cli/commands.py, which the supervisor does not import)."""
POLICIES = ("authgrant", "authdeny", "authlua", "auth-rules", "auth-python")
"""Options of which one at most may be given."""


def parser() -> Parser:
    """The proxy's arguments. What has a default beyond this process is None unless given."""
    parser = Parser(PROGRAM, "The public server of Hubble, to which agents dial out.")
    parser.epilog = f"Commands, each with options of its own ({PROGRAM} COMMAND -h): {COMMANDS}."
    parser.option("listen", default=DEFAULT_LISTEN, metavar="ADDRESS", help="[host]:port; :8080 unless given")
    add_worker_options(parser)
    add_policy_options(parser)
    add_world_options(parser)
    add_cluster_options(parser)
    add_events_options(parser)
    add_admin_options(parser)
    return parser


def add_worker_options(parser: Parser) -> None:
    """How many processes there are, and how they come and go."""
    parser.option("workers", type=worker_count, metavar="N|auto", help="how many worker processes share the work; "
                  "auto, which is the default: one for each core")  # fmt: skip
    parser.option("drain", type=seconds, metavar="S", help="how long agents may take to move to another proxy, at "
                  "SIGTERM (none unless given) and when another takes over (30 unless given)")  # fmt: skip
    parser.switch("takeover", help="if a proxy listens there already, take its listeners over, and have it drain")
    parser.option("runtime-dir", metavar="DIR", help="a private directory for what the workers share; one in "
                  "$XDG_RUNTIME_DIR/hubble or /run/hubble, named after the port, unless given")  # fmt: skip


def add_policy_options(parser: Parser) -> None:
    """Which policy, its limits, and the limits on everybody."""
    parser.switch("authgrant", help="grant every session")
    parser.switch("authdeny", help="deny every session")
    parser.option("authlua", metavar="SCRIPT", help="let a Lua script decide on each session")
    parser.option("auth-rules", metavar="FILE", help="let the rules in a TOML file decide")
    parser.option("auth-python", metavar="MODULE:CLASS", help="let a Python class decide")
    parser.option("lua-time", type=seconds, metavar="S", help="the longest run of the script")
    parser.option("lua-cpu", type=seconds, metavar="S", help="the longest it may compute")
    parser.option("lua-memory", type=size, metavar="BYTES", help="the most memory it may use")
    parser.switch("lua-unsafe", help="let the script reach files and processes")
    parser.option("reauthorize", type=seconds, metavar="S", help="ask again about what is live, every so often")
    parser.option("max-sessions", type=count, metavar="N", help="sessions of one gateway")
    parser.option("max-rate", type=count, metavar="N", help="new sessions a second of one gateway")
    parser.option("max-registrations", type=count, metavar="N", help="registrations a minute from one address")
    parser.option("max-strangers", type=count, metavar="N", help="links that have not said yet who they are")


def add_world_options(parser: Parser) -> None:
    """TLS, front servers, and what else is on the proxy's port."""
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


def add_cluster_options(parser: Parser) -> None:
    """What makes it one of several machines."""
    parser.option(
        "cluster",
        metavar="URL",
        help="the Redis server that the machines share, redis://[user:password@]host:port/db; to keep a password from "
        f"view, give {FILE}PATH, here or in the variable HUBBLE_CLUSTER",
    )
    parser.option("node-name", metavar="NAME", help="this machine's name in the cluster; its host name unless given")
    parser.option(
        "advertise",
        metavar="HOST[:PORT]",
        help="where other machines reach this one's workers: each takes the first free port from PORT on, or any",
    )
    parser.option("cluster-secret-file", metavar="FILE", help="what only the machines of the cluster know")
    parser.option("cluster-ca", metavar="FILE",
                  help="use TLS between machines: the authority (PEM) that issues to them only")  # fmt: skip
    parser.option("cluster-cert", metavar="FILE", help="this machine's certificate from there, with its chain (PEM)")
    parser.option("cluster-key", metavar="FILE", help="its key (PEM), unless that is in the same file")


def add_events_options(parser: Parser) -> None:
    """Who is told of events."""
    parser.option("events", action="append", metavar="TARGET",
                  help="tell of events: stdout, PATH, sqlite:PATH, https://HOST/PATH, syslog:[HOST:PORT|PATH] or "
                       "python:package.module:Class; may be repeated")  # fmt: skip
    parser.option("events-spool", metavar="DIR", help="where events wait while their https receiver is away")
    parser.option("events-secret-file", metavar="FILE", help="sign what an https receiver gets with the secret in FILE")


def add_admin_options(parser: Parser) -> None:
    """The admin listener."""
    parser.option("admin", metavar="ADDRESS", help="[host]:port of the dashboard, the API and the metrics; the host is "
                  "127.0.0.1 unless given")  # fmt: skip
    parser.option("admin-token-file", metavar="FILE", help="the token that they want; one is made, and printed, unless "
                  "given")  # fmt: skip


def is_unpoliced(options: Namespace) -> bool:
    """Whether everything is granted though nobody has said so."""
    return not any(getattr(options, name.replace("-", "_")) for name in POLICIES)


def worker_count(text: str) -> int:
    """A number of workers; 0 for as many as there are cores. Raises ArgumentTypeError."""
    if text == "auto":
        return 0
    if not text.isdecimal() or not 0 < int(text) <= MOST_WORKERS:
        raise ArgumentTypeError(f"{text!r} should be auto, or a whole number from 1 to {MOST_WORKERS}")
    return int(text)
