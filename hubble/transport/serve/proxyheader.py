"""The PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt): a front server reports its client's address.

The header precedes everything else on a connection, including TLS. It is read up to its last byte and no further.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address

from hubble.base.errors import ProtocolError
from hubble.transport.addresses import Socket

Source = tuple[str, int]

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LONGEST_V1 = 107
"""The longest line of version 1 in bytes, with its CR LF (section 2.1)."""

_V1 = re.compile(rb"PROXY (TCP4|TCP6) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n")
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN( [^\r\n]*)?\r\n")
_LOCAL, _PROXY = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31


def read_header(sock: Socket) -> Source | None:
    """Return the client's address and port, or None if the front server has no client or does not know it.

    Raises ProtocolError for an invalid header, and OSError from the socket. The caller bounds the time.
    """
    start = _read(sock, len(SIGNATURE))
    if start == SIGNATURE:
        head = start + _read(sock, 4)
        (length,) = struct.unpack_from("!H", head, 14)
        return parse_v2(head + _read(sock, length))
    if not start.startswith(b"PROXY "):
        raise ProtocolError("it sent no PROXY protocol header, which --proxy-protocol requires")
    line = start
    while not line.endswith(b"\n"):
        if len(line) >= LONGEST_V1:
            raise ProtocolError(f"its PROXY protocol line is longer than {LONGEST_V1} bytes")
        line += _read(sock, 1)  # the bytes after the line belong to TLS or HTTP
    return parse_v1(line)


def parse_v1(line: bytes) -> Source | None:
    """Parse a complete line of version 1. Returns the same as `read_header`. Raises ProtocolError."""
    if _V1_UNKNOWN.fullmatch(line):
        return None
    match = _V1.fullmatch(line)
    if match is None:
        raise ProtocolError("its PROXY protocol line is malformed")
    family, source, destination, *ports = match.groups()
    kind = IPv4Address if family == b"TCP4" else IPv6Address
    try:
        client, _ = kind(source.decode("ascii")), kind(destination.decode("ascii"))
    except ValueError:  # also for bytes that are not ASCII
        raise ProtocolError("its PROXY protocol line has an invalid address") from None
    if any(int(port) > 65535 for port in ports):
        raise ProtocolError("its PROXY protocol line has an invalid port")
    return str(client), int(ports[0])


def parse_v2(header: bytes) -> Source | None:
    """Parse a complete header of version 2. Returns the same as `read_header`. Raises ProtocolError."""
    command, family = header[12], header[13]
    body = header[16:]
    if command not in (_LOCAL, _PROXY):
        raise ProtocolError(f"its PROXY protocol header has the unknown version and command 0x{command:02x}")
    if command == _LOCAL or family in (_UNSPECIFIED, _UNIX):
        return None
    if family not in (_TCP4, _TCP6):
        raise ProtocolError(f"its PROXY protocol header has the family and protocol 0x{family:02x}, which is not TCP")
    size = 4 if family == _TCP4 else 16
    if len(body) < 2 * size + 4:
        raise ProtocolError("its PROXY protocol header is too short for its addresses")
    client = IPv4Address(body[:size]) if size == 4 else IPv6Address(body[:size])
    (port,) = struct.unpack_from("!H", body, 2 * size)
    return str(client), port


def _read(sock: Socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise ProtocolError("it closed the connection before its PROXY protocol header was complete")
        data += more
    return data
