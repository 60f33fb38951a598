"""hubble-proxy hash-key."""

from __future__ import annotations

import io

import pytest

from hubble.cli import hash_key, logs
from hubble.policy.keys import KeyHash


def test_a_key_on_standard_input(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a key\n"))
    assert hash_key.main([]) == 0
    hashed = KeyHash.parse(capfd.readouterr().out.strip())
    assert hashed.fits("a key")
    assert not hashed.is_fast


def test_a_generated_key_is_printed_once_with_its_hash(capfd: pytest.CaptureFixture[str]) -> None:
    assert hash_key.main(["--generate"]) == 0
    out = capfd.readouterr().out
    fields = dict(line.split(maxsplit=1) for line in out.splitlines())
    key, hashed = fields["key:"], KeyHash.parse(fields["hash:"])
    assert out.count(key) == 1
    assert hashed.fits(key)
    assert hashed.is_fast


@pytest.mark.parametrize(("given", "said"), [("\n", "the key is empty"), ("x" * 1025, "a key has 1 to 1024")])
def test_what_is_no_key(
    given: str, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    assert hash_key.main([]) == 2
    assert logs.flush()
    assert said in capfd.readouterr().err


def test_no_standard_input(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert hash_key.main([]) == 2
    assert "--generate" in capfd.readouterr().err
