"""The options of hubble-agent and its commands."""

from __future__ import annotations

from hubble.options.common import LOGGING
from hubble.options.option import ADDRESS, COUNT, FILE, FLAG, SECONDS, SIZE, URL, Group, Option

REGISTRATION = Group(
    "Registration",
    (
        Option(
            "url", "Connect to this proxy: ws://host:port or wss://host. Repeat the option to name several.", URL,
            repeat=True,
        ),
        Option("name", "Register under this gateway name.", metavar="NAME"),
        Option(
            "key", "Register with this key. Prefer --key-file or the variable HUBBLE_KEY.", metavar="KEY", secret=True,
        ),
        Option("key-file", "Read the key to register with from FILE.", FILE),
        Option("exit-on-failure", "Exit if the first registration fails, instead of retrying.", FLAG),
    ),
)  # fmt: skip

DIALING = Group(
    "Connecting to the proxy",
    (
        Option("ca", "Trust only the certificate authorities in FILE (PEM) for wss://.", FILE),
        Option("cert", "Present this client certificate with its chain (PEM).", FILE),
        Option("cert-key", "The certificate's private key (PEM), unless it is in the same file.", FILE),
        Option(
            "server-name", "Expect this name in the proxy's certificate.", metavar="NAME", absent="the URL's host",
        ),
        Option(
            "pin", "Accept only this public key of the proxy. Repeat the option to add the next key.",
            metavar="sha256:HASH", repeat=True,
        ),
        Option("insecure", "Skip certificate checks. Anyone on the path can then read the traffic.", FLAG),
        Option(
            "proxy", "Connect through this HTTP or SOCKS proxy, or through none.", URL, metavar="URL|none",
            absent="HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY",
        ),
        Option(
            "header", "Send one more header to a front server; @FILE reads headers from a file.",
            metavar="'NAME: VALUE'", repeat=True, secret=True,
        ),
        Option("host", "Send this Host header.", metavar="NAME", absent="the URL's host"),
    ),
)  # fmt: skip

ACCESS = Group(
    "What this agent may connect to",
    (
        Option(
            "allow", "Connect to these destinations only (docs/policy.md).", metavar="HOST:PORT", repeat=True,
            absent="every destination",
        ),
        Option("deny", "Never connect to these destinations.", metavar="HOST:PORT", repeat=True),
    ),
)  # fmt: skip

TIMING = Group(
    "Timeouts",
    (
        Option("ping-interval", "Ping an idle link this often.", SECONDS, absent="20 s"),
        Option(
            "link-wait",
            "Let a new connection wait this long for a link to the proxy, or in the queue.",
            SECONDS,
            default=10.0,
        ),
        Option("dial-timeout", "Let a destination take this long to accept a connection.", SECONDS, default=10.0),
        Option("resume-timeout", "Keep a session this long while its path is lost.", SECONDS, default=60.0),
    ),
)

LIMITS = Group(
    "Limits",
    (
        Option(
            "max-pending",
            "New connections that may wait for a session. Beyond that, the source with most of them is refused.",
            COUNT, default=1_000, unit="connections",
        ),
        Option(
            "max-dials", "Destinations dialed at a time. Further sessions wait for up to --dial-timeout.", COUNT,
            default=100, unit="dials",
        ),
        Option(
            "max-sessions", "Sessions that this agent serves as an exit. Further ones are refused as busy.", COUNT,
            default=20_000, unit="sessions",
        ),
    ),
)  # fmt: skip

CREDIT = Group(
    "Memory",
    (
        Option("credit", "Bytes that a new session may have in flight.", SIZE, default=256 << 10),
        Option("credit-most", "The window that a fast session can grow to.", SIZE, default=16 << 20),
        Option("credit-per-link", "The windows of all sessions on one link.", SIZE, default=64 << 20),
        Option(
            "credit-per-process", "The windows of all sessions, with the bytes kept for resumption.", SIZE,
            default=256 << 20,
        ),
        Option("waiting-sessions", "Sessions that may wait for a lost path.", COUNT, default=10_000, unit="sessions"),
        Option("waiting-bytes", "Bytes that these sessions may keep.", SIZE, default=256 << 20),
        Option("max-queued", "Memory for messages that wait to be sent.", SIZE, default=512 << 20),
    ),
)  # fmt: skip

MONITORING = Group(
    "Monitoring",
    (
        Option(
            "metrics", "Serve /metrics for Prometheus on [host]:port; the host is 127.0.0.1 by default.", ADDRESS,
            absent="no listener",
        ),
    ),
)  # fmt: skip

AGENT = (REGISTRATION, DIALING, ACCESS, TIMING, LIMITS, CREDIT, MONITORING, LOGGING)

_URL, _, _KEY, _KEY_FILE, _ = REGISTRATION.options
CHECK = (
    Group(
        "Registration",
        (
            _URL,
            Option("name", "Also register under this name. Choose one that no running agent has.", metavar="NAME"),
            _KEY,
            _KEY_FILE,
        ),
    ),
    DIALING,
    LOGGING,
)
