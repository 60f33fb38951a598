"""The description of an option, and the parsers of its value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def read_flag(text: str) -> bool:
    """Parse a boolean as the original's flag library does. Raises ValueError."""
    values = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise ValueError(f"{text!r} is not a boolean; write true or false") from None


def read_seconds(text: str) -> float:
    """Return a positive number of seconds. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise ValueError(f"{text!r} is not a number of seconds above 0; write for example 2.5")
    return value


def read_count(text: str) -> int:
    """Return a whole number above 0. Raises ValueError."""
    if not (text.isascii() and text.isdecimal()) or not int(text):
        raise ValueError(f"{text!r} is not a whole number above 0")
    return int(text)


def read_size(text: str) -> int:
    """Return a number of bytes; K, M and G are powers of 1,024. Raises ValueError."""
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    number, unit = (text[:-1], units[text[-1].lower()]) if text[-1:].lower() in units else (text, 1)
    if not (number.isascii() and number.isdecimal()) or not int(number):
        raise ValueError(f"{text!r} is not a number of bytes; write for example 65536, 256K or 16M")
    return int(number) * unit


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: its parser (`read`, which raises ValueError), and how its values are shown."""

    name: str
    metavar: str
    read: Callable[[str], Any] = str
    unit: str = ""


TEXT = Kind("text", "TEXT")
FLAG = Kind("flag", "true|false", read_flag)
SECONDS = Kind("seconds", "S", read_seconds, "s")
COUNT = Kind("count", "N", read_count)
SIZE = Kind("size", "BYTES", read_size, "bytes")
ADDRESS = Kind("address", "ADDRESS")
FILE = Kind("file", "FILE")
DIRECTORY = Kind("directory", "DIR")
URL = Kind("url", "URL")


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    name: the option's name without dashes. help: one or two sentences, without the default. default: the value if the
    option is absent. absent: the text shown for a default that is not a plain value. unit: the unit of a count. secret:
    whether the value must never be shown. bare: the value if the option is given without one.
    """

    name: str
    help: str
    kind: Kind = TEXT
    metavar: str = ""
    default: Any = None
    absent: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    repeat: bool = False
    secret: bool = False
    bare: Any = None

    @property
    def dest(self) -> str:
        """The name of the attribute that holds its value."""
        return self.name.replace("-", "_")

    @property
    def placeholder(self) -> str:
        """The placeholder of its value in the help."""
        return self.metavar or "|".join(self.choices) or self.kind.metavar

    @property
    def shown_default(self) -> str:
        """The default as shown to people, or "" if there is none."""
        if self.absent or self.default is None or self.kind is FLAG:
            return self.absent
        value = _size_text(self.default) if self.kind is SIZE else f"{self.default:g}" if self.kind is SECONDS else ""
        value = value or (f"{self.default:,}" if isinstance(self.default, int) else str(self.default))
        unit = "" if self.kind is SIZE else self.unit or self.kind.unit
        return f"{value} {unit}".strip()


@dataclass(frozen=True, slots=True)
class Group:
    """Options that belong together."""

    title: str
    options: tuple[Option, ...]


def _size_text(value: int) -> str:
    for factor, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value % factor == 0:
            return f"{value // factor} {unit}"
    return f"{value:,} bytes"
