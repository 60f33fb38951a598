"""Validate host names and addresses before they reach a resolver."""

from __future__ import annotations

import ipaddress
import re
import socket

from hubble.base.names import code_point

MAX_HOST = 253
"""The longest host name in ASCII, in characters, without a trailing dot (RFC 1035, section 2.3.4)."""
MAX_LABEL = 63
_LABEL = re.compile(r"[0-9A-Za-z_-]+")


def host_problem(host: str) -> str | None:
    """Return why `host` is neither a host name nor an address, as the end of a sentence, or None.

    Names may contain underscores and letters beyond ASCII. Every form of an address that a resolver accepts is valid
    ("127.1", "fe80::1%eth0").
    """
    if not host:
        return "is empty"
    if len(host) > 4 * MAX_HOST:  # before any work that depends on the length
        return f"has {len(host)} characters; a host name has at most {MAX_HOST}"
    for character in host:
        if character == " " or not character.isprintable():
            return f"contains the character {code_point(character)}"
    if host.isascii():
        return None if _is_address(host) else _labels_problem(host)
    try:
        return _labels_problem(host.encode("idna").decode("ascii"))
    except UnicodeError:
        return "is not valid as an internationalized host name"


def _labels_problem(host: str) -> str | None:
    name = host.removesuffix(".")
    if len(name) > MAX_HOST:
        return f"has {len(name)} characters; a host name has at most {MAX_HOST}"
    for label in name.split("."):
        if not label:
            return "has an empty label between its dots"
        if len(label) > MAX_LABEL:
            return f"has a label of {len(label)} characters; a label has at most {MAX_LABEL}"
        if not _LABEL.fullmatch(label):
            wrong = next(character for character in label if not _LABEL.fullmatch(character))
            return f"contains the character {code_point(wrong)}"
    return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            socket.inet_aton(host)
        except OSError:
            return False
    return True
