from __future__ import annotations

import pytest

from hubble.base.errors import ProtocolError
from hubble.supervisor.channel import (
    LARGEST,
    Beat,
    Drain,
    Failed,
    Message,
    Ready,
    Reload,
    Reloaded,
    Start,
    Stop,
    decode,
    encode,
)

START = Start(3, 4, 5, 6, "/run/hubble/8080", 7, "the-token-of-this-test")


@pytest.mark.parametrize(
    "message",
    [START, Start(0, 1, 5, 6, "/run"), Reload(), Drain(2.5), Stop(), Ready(), Failed("what", 2), Beat(), Reloaded("ü")],
)
def test_a_message_arrives_as_it_was(message: Message) -> None:
    assert decode(encode(message)) == message


def test_the_token_is_not_shown() -> None:
    assert START.token not in repr(START) and START.token.encode() in encode(START)


@pytest.mark.parametrize("character", ["x", '"', "\x00", "ü", "\U0001f6f0", "\udcff"])
def test_a_text_of_any_length_fits_a_packet(character: str) -> None:
    text = character * LARGEST
    for message in (Failed(text, 1), Reloaded(text)):
        packet = encode(message)
        assert len(packet) <= LARGEST
        decoded = decode(packet)
        assert isinstance(decoded, Failed | Reloaded)
        said = decoded.text if isinstance(decoded, Failed) else decoded.problem
        assert len(said) >= 1000 and text.startswith(said)


@pytest.mark.parametrize(
    "packet",
    [b"", b"\xff", b"[]", b"7", b"{}", b'{"kind": "Nonsense"}', b'{"kind": []}', b'{"kind": "Stop", "how": "at once"}'],
)
def test_what_another_version_might_say_is_no_message(packet: bytes) -> None:
    with pytest.raises(ProtocolError, match="unknown message, perhaps of another version"):
        decode(packet)
