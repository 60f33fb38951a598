"""Arguments in the original's way: one dash or two, `-x=v` or `-x v`; what is wrong is said in one line."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any, NoReturn

from hubble import __version__
from hubble.base.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An argparse parser whose long options may have one dash."""

    def __init__(self, program: str, description: str) -> None:
        super().__init__(prog=program, description=description, allow_abbrev=False, add_help=False)
        self._switches: set[str] = set()
        self.option("h", "help", action="help", help="show this help, and end")
        self.option("version", action="version", version=f"{program} {__version__}", help="show the version, and end")
        self.option(
            "log-level", choices=("debug", "info", "warning", "error"), default="info", metavar="LEVEL",
            help="what to log: debug, info (the default), warning or error",
        )  # fmt: skip
        self.option("log-format", choices=("text", "json"), default="text", metavar="FORMAT", help="text or json")
        self.option("ports-file", metavar="FILE", help="write the addresses listened on to FILE, as JSON")

    def option(self, *names: str, **settings: Any) -> None:
        """An option that may be written with one dash or with two."""
        if "default" not in settings and settings.get("action") not in ("help", "version"):
            settings["default"] = None
        self.add_argument(*[dashes + name for name in names for dashes in ("-", "--")], **settings)

    def switch(self, name: str, **settings: Any) -> None:
        """An option that is on when given; the original's `-x=true` and `-x=false` are understood."""
        self.option(name, nargs="?", type=boolean, const=True, default=False, metavar="true|false", **settings)
        self._switches |= {f"-{name}", f"--{name}"}

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but that a switch does not take the argument behind it for its value."""
        given = sys.argv[1:] if args is None else args
        return super().parse_known_args([f"{arg}=true" if arg in self._switches else arg for arg in given], namespace)

    def error(self, message: str) -> NoReturn:
        """End with status 2 and one line."""
        self.exit(2, f"{self.prog}: {message} (-h shows how to use it)\n")


def boolean(text: str) -> bool:
    """What the original's flag library takes for a boolean."""
    values = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
    try:
        return values[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} should be true or false") from None


def seconds(text: str) -> float:
    """A positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} should be a number of seconds above 0")
    return value


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} should be a whole number above 0")
    return int(text)


def admin_address(text: str, option: str) -> tuple[str, int]:
    """The host, loopback unless given, and the port of a listener that is not for the public. Raises UsageError."""
    match = re.fullmatch(r"(?P<host>\[[^]]+\]|[^:\s]*):(?P<port>\d{1,5})", text)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(f"{option} {text!r} should look like 127.0.0.1:8081 or :8081")
    return match["host"].strip("[]") or "127.0.0.1", int(match["port"])


def size(text: str) -> int:
    """A number of bytes, with an optional K, M or G (powers of 1,024)."""
    units = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    number, unit = (text[:-1], units[text[-1].lower()]) if text[-1:].lower() in units else (text, 1)
    if not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"{text!r} should be a number of bytes, such as 65536, 256K or 16M")
    return int(number) * unit
