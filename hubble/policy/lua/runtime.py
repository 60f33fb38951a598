"""A fresh lupa runtime for each run. The only module that imports lupa."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from lupa import lua51

from hubble.policy.lua.bytecode import CONCATENATE, SELECT, BytecodeError, rewritten
from hubble.policy.lua.host import Host

_HERE = Path(__file__).parent
_COMPILE = b"""
local source, name = ...
local chunk, message = loadstring(source, name)
if not chunk then return nil, message end
return string.dump(chunk)
"""


class ScriptError(Exception):
    """The script is not valid Lua. The text is Lua's: name, line and fault."""


@dataclass(frozen=True, slots=True)
class Script:
    """A compiled script."""

    code: bytes
    name: str
    source: bytes

    def mentions(self, word: str) -> bool:
        """Return whether `word` occurs in the script's text. A function that it does not mention is not defined."""
        return re.search(rb"\b%s\b" % word.encode("ascii"), self.source) is not None


class Outcome(NamedTuple):
    """The result of sandbox.lua: a state and its values."""

    state: str
    allowed: bool = False
    cache: float = 0.0
    detail: str = ""
    identity: str = ""
    message: str = ""


def compiled(source: bytes, name: str) -> Script:
    """Compile a script. Lua's messages contain `name`. Raises ScriptError."""
    if source.startswith(b"\x1b"):
        raise ScriptError(f"{name}:1: precompiled Lua is not accepted")
    if source.startswith(b"#"):
        source = b"--" + source  # an interpreter line
    try:
        return Script(rewritten(_compile(source, "@" + name)), name, source)
    except BytecodeError as error:
        raise ScriptError(f"{name}:1: {error}") from error


def _compile(source: bytes, name: str) -> bytes:
    code, message = (*_tuple(_runtime(1 << 30, unsafe=False).execute(_COMPILE, source, name.encode())), None)[:2]
    if code is None:
        raise ScriptError(_text(message))
    assert isinstance(code, bytes)
    return code


@functools.cache
def _part(name: str) -> bytes:
    return _compile((_HERE / f"{name}.lua").read_bytes(), f"={name}")


def run(script: Script, wanted: str, host: Host, memory: int, *, unsafe: bool) -> Outcome:
    """Run `script`, then its function `wanted`. Afterwards `host.stopped` shows whether a limit stopped the run.

    unsafe: the script has all libraries of Lua, and Python.
    """
    lua = _runtime(memory, unsafe=unsafe)
    host.attach(lua)
    try:
        result = lua.execute(
            _part("sandbox"),
            *(unsafe, wanted.encode(), script.code, b"@" + script.name.encode(), CONCATENATE, SELECT),
            *(_part(name) for name in ("texts", "tables", "patterns", "strings", "json", "http")),
            *(host.tick, host.enter, host.feed, host.log, host.rewrite, host.decode, host.quote, host.number),
            *(host.stage, host.send),
        )
    except lua51.LuaError as error:  # outside the script, for example too little memory for the sandbox itself
        return Outcome("error", message=str(error) or type(error).__name__)
    finally:
        host.attach(None)
    return _outcome(*_tuple(result))


def _runtime(memory: int, *, unsafe: bool) -> Any:
    return lua51.LuaRuntime(
        encoding=None,
        unpack_returned_tuples=True,
        register_eval=unsafe,
        register_builtins=unsafe,
        attribute_filter=None if unsafe else _no_attributes,
        max_memory=memory,
    )


def _no_attributes(_object: object, name: object, _is_setting: bool) -> NoReturn:
    raise AttributeError(f"no attribute {name!r} for scripts")


def _tuple(result: object) -> tuple[object, ...]:
    return result if isinstance(result, tuple) else (result,)


def _outcome(state: object, *values: object) -> Outcome:
    name = _text(state)
    if name == "error":
        return Outcome(name, message=_text(values[0]))
    if name != "done":
        return Outcome(name)
    allowed, cache, detail, identity = (*values, None, None, None)[:4]
    assert cache is None or isinstance(cache, int | float)
    return Outcome(name, allowed is True, float(cache or 0), _text(detail), _text(identity))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""
