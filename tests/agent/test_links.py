from __future__ import annotations

from typing import Any

from hubble.agent import links as links_module
from hubble.agent.links import Links

LINK: Any = object()
"""Stands for a link, which is only handed on."""


def test_a_link_is_there_until_it_is_lost() -> None:
    links = Links()
    assert links.link is None
    links.set(LINK, resumable=True)
    assert links.link is LINK and links.resumable and links.is_young
    links.clear()
    assert links.link is None
    assert links.meters.registrations == 1


def test_a_link_is_young_for_a_while(monkeypatch: Any) -> None:
    monkeypatch.setattr(links_module, "SETTLING", 0.0)
    links = Links()
    links.set(LINK, resumable=True)
    assert not links.is_young
