"""Hashed keys."""

from __future__ import annotations

import base64
import re

import pytest

from hubble.policy import keys
from hubble.policy.keys import KeyHash, generate_key, hash_key


@pytest.fixture(scope="module")
def hashed() -> KeyHash:
    return KeyHash.parse(hash_key("the key"))


def test_a_hash_proves_its_key_only(hashed: KeyHash) -> None:
    assert hashed.fits("the key")
    assert not hashed.fits("the kex")


def test_a_hash_is_salted_and_tells_nothing() -> None:
    first, second = hash_key("key"), hash_key("key")
    assert first != second
    assert re.fullmatch(r"\$scrypt\$ln=14,r=8,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}", first)


@pytest.mark.parametrize("key", ["", "x" * 1025])
def test_a_key_has_a_length(key: str) -> None:
    with pytest.raises(ValueError, match="1 to 1024"):
        hash_key(key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA",
        "$scrypt$ln=14,r=8,p=1$c2FsdA$",
        "$scrypt$ln=14,r=8,p=1$c2FsdA$c2hvcnQ",
        "$scrypt$ln=30,r=8,p=1$c2FsdA$" + "A" * 43,
        "$scrypt$ln=14,r=99,p=1$c2FsdA$" + "A" * 43,
        "$scrypt$ln=14,r=8,p=1$c2FsdA$" + "A" * 41,
        "$blake2b-random$",
        "$blake2b-random$" + "A" * 42,
    ],
)
def test_what_is_no_hash(text: str) -> None:
    with pytest.raises(ValueError, match="hubble-proxy hash-key") as caught:
        KeyHash.parse(text)
    assert not text or text not in str(caught.value)


class TestGeneratedKeys:
    def test_a_generated_key_fits_its_hash_only(self) -> None:
        (key, hashed), (other, _) = generate_key(), generate_key()
        assert re.fullmatch(r"hubble_[A-Za-z0-9_-]{43}", key)
        assert re.fullmatch(r"\$blake2b-random\$[A-Za-z0-9+/]{43}", hashed)
        assert key not in hashed
        parsed = KeyHash.parse(hashed)
        assert parsed.is_fast
        assert parsed.fits(key)
        assert not parsed.fits(other)
        assert not parsed.fits("")

    @pytest.mark.parametrize("key", ["secret", "hubble_secret", "hubble_" + "a" * 42, "hubble_" + "a" * 43 + "\n"])
    def test_no_key_of_another_form_fits_whatever_its_hash(self, key: str) -> None:
        digest = base64.b64encode(keys._blake2b(key)).decode().rstrip("=")
        assert not KeyHash.parse(f"$blake2b-random${digest}").fits(key)

    def test_scrypt_is_not_fast(self, hashed: KeyHash) -> None:
        assert not hashed.is_fast
