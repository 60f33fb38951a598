"""What a link asks of the kernel."""

from __future__ import annotations

import pytest
from gevent import socket
from websockets.protocol import Side

from hubble.transport.link import Keepalive, Link
from tests.support.pairs import Pairs


@pytest.mark.parametrize("kind", ["tcp", "tls"])
@pytest.mark.parametrize(("keepalive", "milliseconds"), [(Keepalive(), 40_000), (Keepalive.every(60), 120_000)])
def test_what_is_not_acknowledged_is_given_up_when_silence_is(
    all_pairs: Pairs, kind: str, keepalive: Keepalive, milliseconds: int
) -> None:
    pair = all_pairs.make(kind)
    for sock, side in ((pair.client, Side.CLIENT), (pair.server, Side.SERVER)):
        link = Link(sock, side, keepalive=keepalive)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == milliseconds
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        link.abort("seen enough")


def test_a_unix_socket_has_no_such_options(all_pairs: Pairs) -> None:
    Link(all_pairs.make("unix").client, Side.CLIENT).abort("seen enough")
