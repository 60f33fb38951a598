"""One function for each reader of foreign bytes: it returns whatever happens, and raises only for a defect."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

from websockets.protocol import Side

from hubble.agent.access import AccessList
from hubble.agent.rules import Rule
from hubble.base.errors import DialError, HubbleError, ProtocolError, UsageError
from hubble.base.names import key_problem, name_problem, scripts, shown
from hubble.mesh import messages as peering
from hubble.policy import rulesfile
from hubble.protocol import codec
from hubble.protocol.messages import Ack, Handshake, Reset
from hubble.transport.dial import outproxy, socks
from hubble.transport.dial.answer import AnswerReader, NotHTTP, own_text, refusal
from hubble.transport.dial.dial import parse_url
from hubble.transport.dial.proxyauth import Credentials
from hubble.transport.framing import Framing
from hubble.transport.hostnames import host_problem
from hubble.transport.serve import fronts, head, proxyheader, upgrade
from tests.fuzz.sessions import play, play_legacy
from tests.fuzz.sources import Numbers, Sent

Target = Callable[[bytes], None]


def one_line(error: Exception) -> None:
    """Fail unless the error's text is fit for a log and a terminal."""
    assert str(error).isprintable(), repr(str(error))
    assert len(str(error)) < 3 * codec.MAX_TEXT


def wire(data: bytes) -> None:
    """Decode a message; what is one is encoded and decoded to the same."""
    try:
        message = codec.decode(data)
    except ProtocolError as error:
        one_line(error)
        return
    try:
        encoded = codec.encode(message)
    except ProtocolError:  # an end of stream at 2^63, for example, which is decoded more generously
        return
    again = codec.decode(encoded)
    assert type(again) is type(message)
    if not isinstance(message, Handshake | Ack | Reset):  # of these some fields are left out, cut or mended
        assert again == message


def mesh(data: bytes) -> None:
    """Decode a message between workers, from a stranger and from a worker."""
    with suppress(ProtocolError):
        assert peering.decode_hello(data)
    try:
        message = peering.decode(data)
    except ProtocolError:
        return
    json.dumps(getattr(message, "result", None))


def framing(data: bytes) -> None:
    """Receive frames whole and in pieces: it makes no difference to the messages."""
    numbers = Numbers(data)
    side, piece = (Side.SERVER, Side.CLIENT)[numbers.take() & 1], numbers.take() % 31 + 1
    frames = data[2:]
    whole, whole_failure = _messages(side, [frames])
    pieces, failure = _messages(side, [frames[at : at + piece] for at in range(0, len(frames), piece)])
    assert bool(failure) == bool(whole_failure)
    assert pieces == whole
    _messages(side, [frames], first_limit=64)  # from a stranger: less passes, and it depends on the pieces


def _messages(side: Side, parts: list[bytes], first_limit: int | None = None) -> tuple[list[bytes], Exception | None]:
    framing = Framing(side, first_limit=first_limit, clock=lambda: 0.0)
    messages: list[bytes] = []
    for part in parts:
        messages += framing.receive(memoryview(bytearray(part)))
        while framing.has_rest:
            messages += framing.receive_rest()
        framing.controls()
    framing.encode([b"answer"])
    return messages, framing.failure


def request_head(data: bytes) -> None:
    """Read the head of an HTTP request."""
    line, end, rest = data.partition(b"\n")
    try:
        head.check_request_line((line + end).decode("latin-1"))
        read = head.read_headers(BytesIO(rest), "HTTP/1.1")
    except head.BadRequest as error:
        one_line(error)
        assert error.response().startswith(b"HTTP/1.1 ")
        return
    assert rest.startswith(read) and read.endswith(b"\r\n")


def forwarded(data: bytes) -> None:
    """Find out who is behind a front server, and whether the request may be upgraded."""
    lines = data.decode("latin-1").split("\n")
    keys = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_CONNECTION", "HTTP_SEC_WEBSOCKET_KEY", "HTTP_UPGRADE")
    environ = {key: line for key, line in zip(keys, lines, strict=False) if line}
    for addresses in ({"HTTP_X_FORWARDED_FOR"}, {"HTTP_FORWARDED"}, {"HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"}):
        with suppress(fronts.Misleading):
            trusting = fronts.FrontServers(fronts.parse_networks(["10.0.0.0/8", "fd00::/8"]))
            trusting.client_address("10.0.0.1", {key: environ[key] for key in addresses if key in environ})
    usual = {"SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_METHOD": "GET", "HTTP_SEC_WEBSOCKET_VERSION": "13"}
    if upgrade.is_upgrade(usual | environ):
        upgrade.refusal(usual | environ)


def http_answer(data: bytes) -> None:
    """Read the answer to an upgrade, and the page of a refusal."""
    numbers = Numbers(data)
    reset, piece = bool(numbers.take() & 1), numbers.take() + 1
    reader = AnswerReader(Sent(data[2:], piece, reset=reset).as_socket())
    try:
        response = reader.head()
    except (NotHTTP, OSError):
        return
    body = reader.body(response)
    assert refusal(response, body, "advice").isprintable()
    assert own_text(body).isprintable()


def rules(data: bytes) -> None:
    """Parse a forwarding rule; what is one without a key is written and parsed to the same."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        rule = Rule.parse(text)
    except UsageError as error:
        assert "\n" not in str(error) or "\n" in text
        return
    if not rule.key:
        assert Rule.parse(str(rule)) == rule


def access(data: bytes) -> None:
    """Parse a destination pattern, and check destinations with it."""
    text, _, rest = data.decode("utf-8", "surrogateescape").partition("\n")
    host, _, address = rest.partition("\n")
    try:
        lists = [AccessList([text]), AccessList((), [text])]
    except UsageError:
        return
    for each in lists:
        each.check(host, address, 80)
        each.check(host, "64:ff9b::7f00:1", 80)


def policy_file(data: bytes) -> None:
    """Parse a file of rules, and ask it."""
    try:
        parsed = rulesfile.parse(data, "rules.toml")
    except UsageError as error:
        assert str(error).startswith("rules.toml: ")
        return
    for rule in parsed.rules:
        for host in ("db.example.com", "127.1", "64:ff9b::a00:1", "x" * 300, "\0"):
            rule.hosts.match(host, tunnels=not rule.allow)


def proxy_header(data: bytes) -> None:
    """Read a PROXY protocol header, to its last byte and no further."""
    with suppress(ProtocolError, OSError):
        source = proxyheader.read_header(Sent(data, 7).as_socket())
        assert source is None or 0 <= source[1] <= 65535


def socks_answer(data: bytes) -> None:
    """Read a SOCKS server's answers."""
    numbers = Numbers(data)
    credentials = Credentials("user", "password") if numbers.take() & 1 else None
    host = ("db.example.com", "192.0.2.1", "2001:db8::1")[numbers.take() % 3]
    try:
        socks.connect(Sent(data[2:], 3).as_socket(), host, 80, credentials)
    except DialError as error:
        one_line(error)


def urls(data: bytes) -> None:
    """Parse the URLs of a Hubble proxy and of a proxy on the way out."""
    text = data.decode("utf-8", "surrogateescape")
    for parse in (parse_url, outproxy.parse_outproxy):
        try:
            str(parse(text))
        except UsageError as error:
            one_line(error)


def names(data: bytes) -> None:
    """Check a text as a gateway's name, a key and a host."""
    text = data.decode("utf-8", "surrogateescape")
    assert shown(text).isprintable()
    scripts(text)
    for problem in (name_problem(text), key_problem(text), host_problem(text)):
        assert problem is None or problem.isprintable()
    if name_problem(text) is None:
        assert text.isprintable() and text == text.strip()
        text.encode()


def session(data: bytes) -> None:
    """Play what a hostile other side may say, and a local application may do, to an end of a session."""
    try:
        play(Numbers(data))
        play_legacy(Numbers(data))
    except HubbleError as error:  # none of them may leave a session
        raise AssertionError(f"{type(error).__name__}: {error}") from error


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        *(wire, mesh, framing, session),
        *(request_head, forwarded, http_answer, proxy_header, socks_answer),
        *(rules, access, policy_file, urls, names),
    )
}
