from __future__ import annotations

from hubble.protocol.binary import with_limit
from hubble.protocol.codec import decode, encode
from hubble.protocol.messages import Credit


def test_a_credit_with_another_limit() -> None:
    credit = encode(Credit(bytes(range(16)), True, 7, 1000))
    assert decode(with_limit(credit, 1 << 40)) == Credit(bytes(range(16)), True, 7, 1 << 40)
