"""The options of hubble-proxy. The supervisor only parses them; the workers apply them."""

from __future__ import annotations

from hubble.options.common import LOGGING
from hubble.options.option import ADDRESS, COUNT, DIRECTORY, FILE, FLAG, SECONDS, SIZE, URL, Group, Kind, Option

FROM_FILE = "@file:"
MAX_WORKERS = 512


def read_workers(text: str) -> int:
    """Return a number of workers, 0 for "auto". Raises ValueError."""
    if text == "auto":
        return 0
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) <= MAX_WORKERS:
        raise ValueError(f"{text!r} is not auto or a whole number from 1 to {MAX_WORKERS}")
    return int(text)


WORKERS = Kind("workers", "N|auto", read_workers)

SERVING = Group(
    "Serving",
    (
        Option("listen", "Listen on [host]:port.", ADDRESS, default=":8080"),
        Option("workers", "Share the work among this many processes.", WORKERS, absent="auto: one for each core"),
        Option(
            "drain", "Give agents this long to move to another proxy before this one stops.", SECONDS,
            absent="none at SIGTERM, 30 s at a takeover",
        ),
        Option("takeover", "Take over the listeners of the proxy that runs on this address, and have it drain.", FLAG),
        Option(
            "runtime-dir", "Keep the files that the workers share in this private directory.", DIRECTORY,
            absent="one named after the port, in $XDG_RUNTIME_DIR/hubble or /run/hubble",
        ),
        Option("path", "Accept links only at this path and below.", metavar="/PATH", absent="any path"),
        Option(
            "fallback", "Answer requests that are not for a link with the site at URL, or with 404.", URL,
            metavar="URL|404", absent="a short text",
        ),
        Option("ping-interval", "Ping an idle link this often.", SECONDS, absent="20 s"),
    ),
)  # fmt: skip

POLICY = Group(
    "Policy (choose one)",
    (
        Option("authgrant", "Grant every session.", FLAG),
        Option("authdeny", "Deny every session.", FLAG),
        Option("authlua", "Let a Lua script decide on each session.", FILE, metavar="SCRIPT"),
        Option("auth-rules", "Let the rules in a TOML file decide.", FILE),
        Option("auth-python", "Let a Python class decide.", metavar="MODULE:CLASS"),
        Option("lua-time", "Stop a run of the script after this long, including waits.", SECONDS, default=10.0),
        Option("lua-cpu", "Stop a run of the script that computes for this long.", SECONDS, default=0.05),
        Option("lua-memory", "Stop a run of the script that needs more memory.", SIZE, default=16 << 20),
        Option("lua-unsafe", "Let the script reach files and processes.", FLAG),
        Option(
            "reauthorize", "Check every live session and registration against the policy this often.", SECONDS,
            absent="only when the policy changes",
        ),
    ),
)  # fmt: skip

LIMITS = Group(
    "Limits that apply regardless of policy",
    (
        Option("max-sessions", "Sessions of one gateway at a time.", COUNT, default=10_000, unit="sessions"),
        Option("max-rate", "New sessions of one gateway.", COUNT, default=500, unit="a second"),
        Option("max-registrations", "Registrations from one address.", COUNT, default=120, unit="a minute"),
        Option("max-strangers", "Links that have not registered yet, in all.", COUNT, default=5_000, unit="links"),
        Option("max-queued", "Memory of one worker for messages that wait to be sent.", SIZE, default=512 << 20),
    ),
)

TLS = Group(
    "TLS and front servers",
    (
        Option("tls-cert", "Serve wss:// with this certificate and its chain (PEM).", FILE),
        Option("tls-key", "The certificate's private key (PEM), unless it is in the same file.", FILE),
        Option("tls-client-ca", "Request certificates from agents, issued by an authority in FILE (PEM).", FILE),
        Option(
            "tls-client", "Whether agents must present a certificate.", choices=("required", "optional"),
            absent="required, with --tls-client-ca",
        ),
        Option(
            "trusted-proxy", "Trust the client addresses that a front server at this address or network reports.",
            metavar="CIDR", repeat=True,
        ),
        Option("proxy-protocol", "Expect the PROXY protocol (v1 or v2) from every trusted proxy.", FLAG),
    ),
)  # fmt: skip

CLUSTER = Group(
    "Several machines",
    (
        Option(
            "cluster",
            "Share the directory in this Redis server: redis://[user:password@]host:port/db. To hide a password, give "
            f"{FROM_FILE}PATH, here or in the variable HUBBLE_CLUSTER.",
            URL, secret=True,
        ),
        Option("node-name", "This machine's name in the cluster.", metavar="NAME", absent="the host name"),
        Option(
            "advertise",
            "Where other machines reach this machine's workers. Each worker takes the first free port from PORT on.",
            metavar="HOST[:PORT]", absent="any free port",
        ),
        Option("cluster-secret-file", "The secret that the machines of the cluster share.", FILE),
        Option("cluster-ca", "Use TLS between machines, with certificates of this authority (PEM).", FILE),
        Option("cluster-cert", "This machine's certificate from that authority, with its chain (PEM).", FILE),
        Option("cluster-key", "The certificate's private key (PEM), unless it is in the same file.", FILE),
    ),
)  # fmt: skip

EVENTS = Group(
    "Events",
    (
        Option(
            "events",
            "Send events to stdout, PATH, sqlite:PATH, https://HOST/PATH, syslog:[HOST:PORT|PATH] or "
            "python:package.module:Class.",
            metavar="TARGET", repeat=True, secret=True,
        ),
        Option("events-spool", "Keep events in DIR while their https receiver is unreachable.", DIRECTORY),
        Option("events-secret-file", "Sign the events sent to an https receiver with the secret in FILE.", FILE),
    ),
)  # fmt: skip

ADMIN = Group(
    "Administration",
    (
        Option(
            "admin", "Serve the dashboard, the API and the metrics on [host]:port; the host is 127.0.0.1 by default.",
            ADDRESS, absent="no listener",
        ),
        Option("admin-token-file", "Read the token for these from FILE.", FILE, absent="a new token, printed"),
    ),
)  # fmt: skip

PROXY = (SERVING, POLICY, LIMITS, TLS, CLUSTER, EVENTS, ADMIN, LOGGING)
POLICIES = ("authgrant", "authdeny", "authlua", "auth-rules", "auth-python")
"""Mutually exclusive options."""

HASH_KEY = (
    Group(
        "Key",
        (Option("generate", "Generate a random key and print it once, with a hash that is fast to verify.", FLAG),),
    ),
)
