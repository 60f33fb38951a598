"""The client side of SOCKS5 (RFC 1928), with user and password (RFC 1929), over a connected socket."""

from __future__ import annotations

import ipaddress
import struct

from hubble.base.errors import DialError
from hubble.transport.addresses import Socket
from hubble.transport.dial.proxyauth import Credentials

VERSION = 5
CONNECT = 1
NO_LOGIN, PASSWORD = 0, 2
IPV4, NAME, IPV6 = 1, 3, 4

REPLIES = {
    1: "general failure",
    2: "it does not allow this connection",
    3: "it has no route to the network",
    4: "it cannot reach the host or resolve its name",
    5: "the host refused the connection",
    6: "the connection took too many hops",
    7: "it does not support CONNECT",
    8: "it does not support this type of address",
}
"""The meaning of each reply code (RFC 1928, section 6)."""


class Refused(DialError):
    """The server refused the request. The text is the end of a sentence."""


def connect(sock: Socket, host: str, port: int, credentials: Credentials | None) -> None:
    """Have the SOCKS server at the other end of `sock` connect to `host`, a name or an address.

    Afterwards the socket leads to the destination. Raises `Refused`, `DialError`, `OSError`. The caller bounds the
    time. (python-socks would make the TCP connection itself, to one address only.)
    """
    _login(sock, credentials)
    sock.sendall(bytes([VERSION, CONNECT, 0]) + _address(host) + struct.pack("!H", port))
    _, reply, _, kind = _read_exactly(sock, 4)
    if reply != 0:
        raise Refused(REPLIES.get(reply, f"reply {reply}"))
    length = {IPV4: 4, IPV6: 16}.get(kind) or _read_exactly(sock, 1)[0]
    _read_exactly(sock, length + 2)  # the proxy's own address and port are not needed


def _login(sock: Socket, credentials: Credentials | None) -> None:
    methods = [NO_LOGIN] if credentials is None else [NO_LOGIN, PASSWORD]
    sock.sendall(bytes([VERSION, len(methods), *methods]))
    version, method = _read_exactly(sock, 2)
    if version != VERSION:
        raise DialError("it does not speak SOCKS5: is it an HTTP proxy (http://)?")
    if method == PASSWORD and credentials is not None:
        user, password = (text.encode() for text in credentials)
        sock.sendall(b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password)
        if _read_exactly(sock, 2)[1] != 0:
            raise Refused("are user and password right?")
    elif method != NO_LOGIN:
        raise Refused(
            "it requires a user and password: --proxy socks5://USER:PASSWORD@HOST:PORT"
            if credentials is None
            else "it does not accept a user and password"
        )


def _address(host: str) -> bytes:
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        if len(name) > 255:
            raise DialError("the name of the host is too long for SOCKS") from None
        return bytes([NAME, len(name)]) + name
    return bytes([IPV4 if ip.version == 4 else IPV6]) + ip.packed


def _read_exactly(sock: Socket, size: int) -> bytes:
    """Read exactly `size` bytes: those after the server's answer belong to the destination."""
    data = b""
    while len(data) < size:
        received = sock.recv(size - len(data))
        if not received:
            raise DialError("it closed the connection in the middle of the SOCKS handshake")
        data += received
    return data
