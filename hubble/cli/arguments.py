"""The command line of every program, from the descriptions in hubble/options.

As in the original, an option has one or two dashes, and `-x=v` is the same as `-x v`. An error prints one line and
exits with status 2.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from hubble.base.errors import UsageError
from hubble.base.version import __version__
from hubble.cli import logs
from hubble.options.option import FLAG, Group, Option


class Parser(argparse.ArgumentParser):
    """An argparse parser built from descriptions of options. Long options may have one dash."""

    def __init__(self, program: str, description: str, groups: Iterable[Group] = (), epilog: str | None = None) -> None:
        super().__init__(
            prog=program, description=description, epilog=epilog, allow_abbrev=False, add_help=False,
            formatter_class=_Formatter,
        )  # fmt: skip
        self._flags: set[str] = set()
        self._names = {"-help", "--help", "-version", "--version"}
        for group in groups:
            container = self.add_argument_group(group.title)
            for option in group.options:
                self._add(container, option)
        about = self.add_argument_group("Help")
        about.add_argument("-h", "--h", "-help", "--help", action="help", help="Show this help.")
        version = f"{program} {__version__}"
        about.add_argument("-version", "--version", action="version", version=version, help="Show the version.")

    def _add(self, container: argparse._ArgumentGroup, option: Option) -> None:
        names = [f"-{option.name}", f"--{option.name}"]
        self._names.update(names)
        settings: dict[str, Any] = {"default": option.default, "metavar": option.placeholder, "help": _help(option)}
        if option.kind is FLAG:
            settings |= {"nargs": "?", "const": True, "default": bool(option.default)}
            self._flags.update(names)
        if option.bare is not None:
            settings |= {"nargs": "?", "const": option.bare}
        if option.repeat:
            settings["action"] = "append"
        if option.choices:
            settings["choices"] = option.choices
        container.add_argument(*names, type=_reader(option), **settings)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, except that a flag does not take the next argument as its value."""
        given = sys.argv[1:] if args is None else args
        if logs.wants_json(given):
            logs.use_json()
        return super().parse_known_args([f"{arg}=true" if arg in self._flags else arg for arg in given], namespace)

    def error(self, message: str) -> NoReturn:
        """Print one line, which suggests an option for an unknown one, and exit with status 2."""
        unknown = re.match(r"unrecognized arguments: (-[^\s=]+)", message)
        if unknown:
            dashes = "--" if unknown[1].startswith("--") else "-"
            known = [name for name in self._names if name.startswith("--") == (dashes == "--")]
            near = difflib.get_close_matches(unknown[1], known, 1)
            message = f"unknown option {unknown[1]}" + (f"; did you mean {near[0]}?" if near else "")
        logs.say(f"{self.prog}: {message} ({self.prog} -h lists the options)")
        logs.flush()
        self.exit(2)


class _Formatter(argparse.HelpFormatter):
    """Shows each option once, with two dashes, although both forms are accepted."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32, width=100)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        name = next(name for name in reversed(action.option_strings) if name.startswith("--"))
        if action.nargs == 0 or action.metavar == FLAG.metavar:
            return name
        return f"{name} {action.metavar}" if action.nargs != "?" else f"{name} [{action.metavar}]"

    def _format_usage(
        self, usage: str | None, actions: Iterable[argparse.Action], groups: Any, prefix: str | None
    ) -> str:
        arguments = [f"[{action.metavar}...]" if action.nargs in ("*", argparse.SUPPRESS) else str(action.metavar)
                     for action in actions if not action.option_strings]  # fmt: skip
        return f"usage: {' '.join([self._prog, '[OPTION...]', *arguments])}\n\n"


def _reader(option: Option) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return option.kind.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _help(option: Option) -> str:
    text = f"{option.help} (default: {option.shown_default})" if option.shown_default else option.help
    return text.replace("%", "%%")


def admin_address(text: str, option: str) -> tuple[str, int]:
    """Return the host (loopback by default) and the port of a private listener. Raises UsageError."""
    match = re.fullmatch(r"(?P<host>\[[^]]+\]|[^:\s]*):(?P<port>\d{1,5})", text)
    if match is None or int(match["port"]) > 65535:
        raise UsageError(f"{option} {text!r} is not an address; write for example 127.0.0.1:8081 or :8081")
    return match["host"].strip("[]") or "127.0.0.1", int(match["port"])
