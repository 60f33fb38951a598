"""Parses the TOML file of identities and rules. docs/policy.md describes it for users."""

from __future__ import annotations

import difflib
import fnmatch
import ipaddress
import re
import socket
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from hubble.base.embedded import Address, Network, embedded, reached, translated, unmapped
from hubble.base.errors import UsageError
from hubble.policy.keys import KeyHash

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Names:
    """Shell patterns for names. None matches every name, and a missing name."""

    patterns: tuple[re.Pattern[str], ...] | None = None

    def match(self, name: str) -> bool:
        return self.patterns is None or any(pattern.fullmatch(name) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Shell patterns for host names, and networks for addresses."""

    names: Names = Names()
    networks: tuple[Network, ...] = ()

    def match(self, host: str, *, tunnels: bool = False) -> bool:
        """Return whether a host matches. A name never matches a network, because only the exit knows its address.

        tunnels: also match the IPv4 address inside a tunnel address such as 6to4, as a rule that denies must.
        """
        address = literal_address(host)
        if address is None:
            return self.names.match(host.lower().removesuffix("."))
        if self.names.match(str(address)):
            return True
        inside = embedded(address) if tunnels else (translated(address),)
        return any(each in net for each in (address, *inside) if each is not None for net in self.networks)


@dataclass(frozen=True, slots=True)
class Ports:
    ranges: tuple[tuple[int, int], ...] | None = None

    def match(self, port: int) -> bool:
        return self.ranges is None or any(first <= port <= last for first, last in self.ranges)


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity, its proofs, and the gateways that it may register."""

    name: str
    keys: tuple[KeyHash, ...]
    certificate: Names | None
    gateways: Names


@dataclass(frozen=True, slots=True)
class SessionRule:
    """A rule that allows or denies sessions. `title` names it in the log."""

    title: str
    allow: bool
    identities: Names
    sources: Names
    gateways: Names
    hosts: Hosts
    ports: Ports
    keys: tuple[KeyHash, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    identities: tuple[Identity, ...] = ()
    rules: tuple[SessionRule, ...] = ()


def literal_address(host: str) -> Address | None:
    """Return the address in `host`, in any notation that a resolver accepts ("127.1"), or None for a name.

    An IPv4 address inside an IPv6 one is returned as IPv4, and the unspecified address as loopback, which it reaches.
    """
    try:
        address: Address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        try:
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except (OSError, ValueError):
            return None
    return reached(address)


def parse(contents: bytes, file: str) -> Rules:
    """Parse a rules file. Raises UsageError, whose text names the file, the place, the fault and the remedy."""
    try:
        document = tomllib.loads(contents.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from error
    except RecursionError:
        raise UsageError(f"{file}: arrays or tables are nested too deeply; use at most two levels") from None
    table = _Table(document, file)
    identities = tuple(_identity(part) for part in table.tables("identity"))
    rules = tuple(_rule(part) for part in table.tables("rule"))
    table.finish()
    _unique(identities, file)
    return Rules(identities, rules)


def _unique(identities: Iterable[Identity], file: str) -> None:
    seen: set[str] = set()
    for identity in identities:
        if identity.name in seen:
            raise UsageError(f'{file}: two identities have the name "{identity.name}"; give one a list of keys instead')
        seen.add(identity.name)


def _identity(table: _Table) -> Identity:
    name = table.text("name")
    if name is None:
        raise table.error("name", 'is missing; write one, for example name = "alice"')
    table.place += f' ("{name}")'
    keys = table.list("key", _key_hash)
    certificate = table.list("certificate", _pattern)
    anonymous = table.boolean("anonymous")
    gateways = table.list("register", _pattern)
    table.finish()
    if anonymous == bool(keys or certificate):
        raise table.error(
            "key", "the proof is missing or contradictory; write a hashed key, a certificate, or anonymous = true"
        )
    if gateways is None:
        raise table.error("register", f'is missing; write one, for example register = "{name}-*"')
    return Identity(name, keys or (), Names(certificate) if certificate else None, Names(gateways))


def _rule(table: _Table) -> SessionRule:
    name = table.text("name")
    if name is not None:
        table.place += f' ("{name}")'
    action = table.text("action") or "allow"
    if action not in ("allow", "deny"):
        raise table.error("action", f'is "{action}"; write "allow" or "deny"')
    rule = SessionRule(
        title=table.place,
        allow=action == "allow",
        identities=Names(table.list("identity", _pattern)),
        sources=Names(table.list("source", _pattern)),
        gateways=Names(table.list("gateway", _pattern)),
        hosts=_hosts(table.list("host", _host)),
        ports=Ports(table.list("port", _port_range)),
        keys=table.list("key", _key_hash) or (),
    )
    table.finish()
    return rule


def _hosts(parts: tuple[Network | re.Pattern[str], ...] | None) -> Hosts:
    if parts is None:
        return Hosts()
    names = tuple(part for part in parts if isinstance(part, re.Pattern))
    return Hosts(Names(names), tuple(part for part in parts if not isinstance(part, re.Pattern)))


# Parsers of one value. Each raises ValueError, whose text names the fault and the remedy. --------------------------


def _pattern(value: object) -> re.Pattern[str]:
    if not isinstance(value, str) or not value:
        raise ValueError(f'{value!r} is not a name; write a pattern, for example "web-*"')
    return re.compile(fnmatch.translate(value))


def _host(value: object) -> Network | re.Pattern[str]:
    if not isinstance(value, str) or not value:
        raise ValueError(f'{value!r} is not a host; write a name ("*.example.com") or a network ("10.0.0.0/8")')
    try:
        return unmapped(ipaddress.ip_network(value.strip("[]")))
    except ValueError as error:
        if "/" in value:
            raise ValueError(f'"{value}" is not a network: {error}; write one, for example "10.0.0.0/8"') from None
    return _pattern(value.lower().removesuffix("."))


def _port_range(value: object) -> tuple[int, int]:
    first, last = 0, 0
    if isinstance(value, int) and not isinstance(value, bool):
        first = last = value
    elif isinstance(value, str) and (found := re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", value)):
        first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= 65535:
        raise ValueError(f'{value!r} is not a port; write a number from 1 to 65535, or a range such as "8000-8999"')
    return first, last


def _key_hash(value: object) -> KeyHash:
    if not isinstance(value, str):
        raise ValueError("the value is not a hashed key; make one with: hubble-proxy hash-key")
    return KeyHash.parse(value)


class _Table:
    """A TOML table that is read key by key, and knows its place in the file."""

    def __init__(self, values: dict[str, object], file: str, place: str = "") -> None:
        self._values = dict(values)
        self._known: list[str] = []
        self._file = file
        self.place = place

    def error(self, key: str, what: str) -> UsageError:
        place = f"{self.place}: {key}" if self.place else key
        return UsageError(f"{self._file}: {place}: {what}")

    def _take(self, key: str) -> object:
        self._known.append(key)
        return self._values.pop(key, None)

    def tables(self, key: str) -> list[_Table]:
        found = self._take(key)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(part, dict) for part in found):
            raise self.error(key, f"is not a list of tables; write each under its own [[{key}]]")
        return [_Table(part, self._file, f"{key} {n}") for n, part in enumerate(found, start=1)]

    def text(self, key: str) -> str | None:
        value = self._take(key)
        if value is not None and (not isinstance(value, str) or not value):
            raise self.error(key, "is not a text; write it in quotes")
        return value

    def boolean(self, key: str) -> bool:
        value = self._take(key)
        if not isinstance(value, bool | None):
            raise self.error(key, "is not a boolean; write true or false")
        return value is True

    def list(self, key: str, read: Callable[[object], T]) -> tuple[T, ...] | None:
        """Parse one value, or a list of values, with `read`. Return None if the key is absent."""
        value = self._take(key)
        if value is None:
            return None
        values = value if isinstance(value, list) else [value]
        if not values:
            raise self.error(key, "the list is empty; add a value, or remove the line")
        try:
            return tuple(read(each) for each in values)
        except ValueError as error:
            raise self.error(key, str(error)) from None

    def finish(self) -> None:
        """Raise UsageError for unknown keys."""
        for key in self._values:
            near = difflib.get_close_matches(key, self._known, 1)
            hint = f'did you mean "{near[0]}"?' if near else f"write one of: {', '.join(self._known)}"
            raise self.error(key, f"is unknown; {hint}")
