"""The PROXY protocol. The headers are those of the specification's own examples, or put together as it says."""

from __future__ import annotations

import contextlib
import struct

import gevent
import pytest
from gevent import socket
from hypothesis import given
from hypothesis import strategies as st

from hubble.base.errors import ProtocolError
from hubble.transport.serve.proxyheader import LONGEST_V1, SIGNATURE, parse_v1, parse_v2, read_header
from tests.support.pairs import Pair

REST = b"GET / HTTP/1.1\r\n\r\n"
V4 = socket.inet_aton("192.168.0.1") + socket.inet_aton("192.168.0.11") + struct.pack("!HH", 56324, 443)
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(16) + struct.pack("!HH", 56324, 443)


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


@pytest.mark.parametrize(
    ("header", "source"),
    [
        (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", ("192.168.0.1", 56324)),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", ("2001:db8::1", 56324)),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65535)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        (v2(0x21, 0x11, V4), ("192.168.0.1", 56324)),
        (v2(0x21, 0x21, V6), ("2001:db8::1", 56324)),
        (v2(0x21, 0x11, V4 + b"\x03\x00\x04abcd"), ("192.168.0.1", 56324)),  # with a TLV behind the addresses
        (v2(0x21, 0x11, V4 + bytes(4096)), ("192.168.0.1", 56324)),
        (v2(0x20, 0x00, b""), None),  # LOCAL: a health check
        (v2(0x20, 0x11, V4), None),
        (v2(0x21, 0x00, b""), None),  # UNSPEC
        (v2(0x21, 0x31, bytes(216)), None),  # a Unix socket at the front server
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_header_is_read_to_its_end_and_no_further(
    memory_pair: Pair, header: bytes, source: tuple[str, int] | None, at_once: bool
) -> None:
    client, server = memory_pair
    reading = gevent.spawn(read_header, server)
    for piece in [header + REST] if at_once else [bytes([byte]) for byte in header + REST]:
        client.sendall(piece)
        if not at_once:
            gevent.sleep(0)
    assert reading.get(timeout=10) == source
    client.shutdown(socket.SHUT_WR)
    left = b""
    while data := server.recv(100):
        left += data
    assert left == REST


@pytest.mark.parametrize(
    "line",
    [
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n",
        b"PROXY TCP4 192.168.0.1  192.168.0.11 56324 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
        b"PROXY TCP4 192.168.0.256 192.168.0.11 56324 443\r\n",
        b"PROXY TCP4 192.168.0.01 192.168.0.11 56324 443\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 56324 443\r\n",
        b"PROXY TCP6 192.168.0.1 192.168.0.11 56324 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 056324 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
        b"PROXY TCP4 192.168.0.1 192.168.0.11 -1 443\r\n",
        b"PROXY UDP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        b"PROXY tcp4 192.168.0.1 192.168.0.11 56324 443\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY TCP4 \xff\xfe 192.168.0.11 56324 443\r\n",
    ],
)
def test_malformed_lines(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="PROXY protocol line"):
        parse_v1(line)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (v2(0x22, 0x11, V4), "unknown version and command 0x22"),
        (v2(0x11, 0x11, V4), "unknown version and command 0x11"),
        (v2(0x21, 0x12, V4), "0x12, which is not TCP"),
        (v2(0x21, 0x41, V4), "0x41, which is not TCP"),
        (v2(0x21, 0x11, V4[:-1]), "too short"),
        (v2(0x21, 0x21, V4), "too short"),
    ],
)
def test_malformed_headers_of_version_2(header: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        parse_v2(header)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (REST, "sent no PROXY protocol header"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00", "sent no PROXY"),
        (b"PROXY TCP4 " + bytes(LONGEST_V1), "longer than 107 bytes"),
        (b"PROXY TCP4 192.168.0.1", "closed the connection before"),
        (v2(0x21, 0x11, V4)[:-1], "closed the connection before"),
        (b"", "closed the connection before"),
    ],
)
def test_what_is_no_header(memory_pair: Pair, sent: bytes, said: str) -> None:
    memory_pair.client.sendall(sent)
    memory_pair.client.shutdown(socket.SHUT_WR)
    with pytest.raises(ProtocolError, match=said):
        read_header(memory_pair.server)


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for parse, header in ((parse_v1, data), (parse_v1, b"PROXY " + data), (parse_v2, v2(0x21, 0x11, data))):
        with contextlib.suppress(ProtocolError):
            parse(header)
