"""docs/options.md: every option of every command, generated from the descriptions.

`python -m hubble.options.reference` prints the page. A test compares the file with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hubble.options import admin, agent, proxy
from hubble.options.option import FLAG, Group, Option

HEAD = """# Options

Every option of `hubble-agent` and `hubble-proxy`. This page is generated from `hubble/options`: run `make options`.

An option has one dash or two, and its value follows a space or an equals sign: `-url X`, `--url X` and `--url=X` are
the same. A flag needs no value; `--flag=false` turns it off. Seconds may have a fraction. A number of bytes may end in
`K`, `M` or `G` (powers of 1,024). "Repeatable" options may be given more than once.
"""


def reference() -> str:
    """Return the page as Markdown."""
    parts = [HEAD, *_program("hubble-agent [OPTION...] [RULE...]", agent.AGENT)]
    parts += _program("hubble-agent check [OPTION...]", agent.CHECK)
    parts += _program("hubble-proxy [OPTION...]", proxy.PROXY)
    parts += _program("hubble-proxy hash-key [OPTION...]", proxy.HASH_KEY)
    for name, command in admin.COMMANDS.items():
        usage = " ".join(filter(None, ["hubble-proxy", name, "[OPTION...]", command.argument]))
        parts += [f"\n## `{usage}`\n\n{command.summary}\n", *_table(command.options)]
    parts.append("\n## Every command that connects to a running proxy\n")
    parts += [*_table(admin.ACCESS.options)]
    return "".join(parts)


def _program(usage: str, groups: Iterable[Group]) -> Iterator[str]:
    yield f"\n## `{usage}`\n"
    for group in groups:
        yield f"\n### {group.title}\n"
        yield from _table(group.options)


def _table(options: Iterable[Option]) -> Iterator[str]:
    rows = [_row(option) for option in options]
    if rows:
        yield "\n| option | description | default |\n| --- | --- | --- |\n"
        yield from rows


def _row(option: Option) -> str:
    value = "" if option.kind is FLAG else f" {option.placeholder}"
    repeat = " Repeatable." if option.repeat and "Repeat the option" not in option.help else ""
    cells = (f"`--{option.name}{value}`", option.help + repeat, option.shown_default)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    print(reference(), end="")
