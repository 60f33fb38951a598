"""Hashed keys."""

from __future__ import annotations

import re
import time

import gevent
import pytest

from hubble.policy import keys
from hubble.policy.keys import KeyHash, KeyVerifier, Overload, hash_key

SMALL = "$scrypt$ln=4,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA$"


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
    ],
)
def test_what_is_no_hash(text: str) -> None:
    with pytest.raises(ValueError, match="hubble-proxy hash-key") as caught:
        KeyHash.parse(text)
    assert not text or text not in str(caught.value)


class TestVerifier:
    def test_right_and_wrong(self, hashed: KeyHash) -> None:
        verifier = KeyVerifier()
        assert verifier.verify(hashed, "the key")
        assert not verifier.verify(hashed, "another")
        assert not verifier.verify(hashed, "")
        assert not verifier.verify(hashed, "x" * 5000)

    def test_a_right_key_is_computed_once(self, hashed: KeyHash, monkeypatch: pytest.MonkeyPatch) -> None:
        verifier = KeyVerifier()
        assert verifier.verify(hashed, "the key")
        monkeypatch.setattr(keys, "_scrypt", None)
        assert verifier.verify(hashed, "the key")
        with pytest.raises(TypeError):
            verifier.verify(hashed, "the kex")

    def test_what_is_remembered_is_no_key(self, hashed: KeyHash) -> None:
        verifier = KeyVerifier()
        verifier.verify(hashed, "the key")
        assert "the key" not in repr(vars(verifier))

    def test_another_hash_of_the_key_is_computed(self, hashed: KeyHash) -> None:
        verifier = KeyVerifier()
        assert verifier.verify(hashed, "the key")
        assert not verifier.verify(KeyHash.parse(hash_key("x")), "the key")

    def test_the_hub_goes_on(self, hashed: KeyHash) -> None:
        """While eight wrong keys are verified, other greenlets run all the time."""
        verifier = KeyVerifier()
        started = time.perf_counter()
        assert not hashed.fits("alone")
        alone = time.perf_counter() - started
        turns = 0

        def count() -> None:
            nonlocal turns
            while True:
                gevent.sleep(alone / 20)
                turns += 1

        counter = gevent.spawn(count)
        tasks = [gevent.spawn(verifier.verify, hashed, f"wrong {n}") for n in range(8)]
        gevent.joinall(tasks, timeout=20, raise_error=True)
        counter.kill()
        assert [task.value for task in tasks] == [False] * 8
        assert turns > 20

    def test_too_many_at_once_are_refused(self, hashed: KeyHash, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keys, "MAX_WAITING", 2)
        verifier = KeyVerifier()
        tasks = [gevent.spawn(verifier.verify, hashed, f"wrong {n}") for n in range(3)]
        gevent.joinall(tasks, timeout=20)
        assert [type(task.exception) for task in tasks] == [type(None), type(None), Overload]
        assert verifier.verify(hashed, "the key")

    def test_what_is_remembered_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keys, "MAX_KNOWN", 2)
        monkeypatch.setattr(KeyHash, "fits", lambda *_: True)
        verifier, any_hash = KeyVerifier(), KeyHash.parse(SMALL + "A" * 43)
        for n in range(5):
            verifier.verify(any_hash, f"key {n}")
        assert len(verifier._known) == 2
