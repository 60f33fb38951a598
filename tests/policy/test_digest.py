"""Names for keys in logs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from hubble.policy import digest
from hubble.policy.digest import key_digest, set_digest_secret, without_key


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(digest, "_secret", b"s" * 32)
    yield


def test_a_digest_is_short_and_stable() -> None:
    assert re.fullmatch("[0-9a-f]{12}", key_digest("key"))
    assert key_digest("key") == key_digest("key") != key_digest("other")
    assert key_digest("") == ""


def test_a_digest_depends_on_the_secret() -> None:
    before = key_digest("key")
    set_digest_secret(b"another secret of enough bytes")
    assert key_digest("key") != before


@pytest.mark.parametrize("length", [0, 15, 65])
def test_a_secret_has_a_length(length: int) -> None:
    with pytest.raises(ValueError, match="16 to 64 bytes"):
        set_digest_secret(b"x" * length)


@pytest.mark.parametrize("form", ["a key/+", "a%20key%2F%2B", "a+key%2F%2B"])
def test_a_key_is_taken_out_of_a_text(form: str) -> None:
    assert without_key(f"before {form} after", "a key/+") == f"before [key {key_digest('a key/+')}] after"


def test_without_a_key_nothing_changes() -> None:
    assert without_key("text", "") == "text"


@pytest.mark.parametrize("key", ["\ud800 key", "\udcff key", "ключ"])
def test_any_key_has_a_digest(key: str) -> None:
    assert key not in without_key(f"x{key}y", key)


def test_a_short_key_is_taken_out_where_it_stands_alone() -> None:
    text = without_key("key=e&x the rest: 'e'", "e")
    assert text == f"key=[key {key_digest('e')}]&x the rest: '[key {key_digest('e')}]'"
