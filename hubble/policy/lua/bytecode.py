"""Rewrites compiled Lua 5.1 before it runs, so that it cannot overflow the stack and `..` obeys the limits.

Lua 5.1.5 reserves too little stack for a function with several parameters before `...` (CVE-2014-5461): a call writes
past the stack. The rewritten function has only `...`, and takes its parameters from there.

The operator `..` prints numbers with 14 digits, and is one C call of any length. A rewritten chain of `..` calls the
number CONCATENATE instead, and a rewritten `...` calls the number SELECT. texts.lua makes numbers callable for both.
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass

# Numbers that no script computes by accident. Calling another number raises the usual error.
CONCATENATE = struct.unpack("<d", bytes.fromhex("485542424c455a7f"))[0]
SELECT = struct.unpack("<d", bytes.fromhex("485542424c455b7f"))[0]

SAFE_PARAMETERS = 2  # before `...`: Lua's spare stack has room for them
MAX_STACK = 250  # registers of one function, MAXSTACK in lparser.c
MAX_CONSTANTS = 1 << 18  # what the field Bx of an instruction can name
HEADER = b"\x1bLua\x51\x00\x01\x04\x08\x04\x08\x00"  # of a 64-bit little-endian Lua 5.1

_MOVE, _LOADK, _CONCAT, _JMP, _CALL, _FORLOOP, _FORPREP, _SETLIST, _VARARG = 0, 1, 21, 22, 28, 31, 32, 34, 37
_HAS_ARG_TABLE = 4  # in the flags of a function with `...`: Lua reserves enough for it
_JUMPS = frozenset((_JMP, _FORLOOP, _FORPREP))
_BX_ZERO = (1 << 17) - 1  # the value of Bx that stands for a jump of 0


class BytecodeError(ValueError):
    """The code is not in the format of this machine's Lua 5.1, or one of its functions is too large to rewrite."""


def rewritten(code: bytes) -> bytes:
    """Rewrite the code of string.dump. Raises BytecodeError."""
    if sys.byteorder != "little" or not code.startswith(HEADER):
        raise BytecodeError(
            "the compiled code has an unsupported format; install lupa with Lua 5.1 for a 64-bit little-endian machine"
        )
    reader = _Reader(code, len(HEADER))
    return HEADER + _function(reader)


def _instruction(operation: int, a: int, b: int, c: int) -> int:
    return operation | a << 6 | c << 14 | b << 23


class _Reader:
    """Reads the parts of a dump in order."""

    def __init__(self, code: bytes, at: int) -> None:
        self._code = code
        self._at = at

    def take(self, size: int) -> bytes:
        self._at += size
        return self._code[self._at - size : self._at]

    def integer(self) -> int:
        return int(struct.unpack("<i", self.take(4))[0])

    def words(self) -> array[int]:
        return array("I", self.take(4 * self.integer()))

    def text(self) -> bytes:
        """Return a string with its length in front."""
        length = self.take(8)
        return length + self.take(struct.unpack("<Q", length)[0])

    def constant(self) -> bytes:
        kind = self.take(1)
        if kind == b"\x04":
            return kind + self.text()
        return kind + self.take({0: 0, 1: 1, 3: 8}[kind[0]])


@dataclass(slots=True)
class _Code:
    """The instructions of one function with their lines, and the data to rewrite them.

    constants: the constants of the function; rewriting adds more. parameters: the number of parameters before `...`
    that are taken from there, or 0. places: the new place of each old one, if any moved. stack: its registers.
    """

    words: array[int]
    lines: array[int]
    constants: list[bytes]
    parameters: int
    stack: int
    places: list[int] | None = None

    def constant(self, number: float) -> int:
        self.constants.append(b"\x03" + struct.pack("<d", number))
        return len(self.constants) - 1


def _function(reader: _Reader) -> bytes:
    start = reader.text() + reader.take(8)
    upvalues, parameters, flags, stack = reader.take(4)
    words = reader.words()
    constants = [reader.constant() for _ in range(reader.integer())]
    functions = [_function(reader) for _ in range(reader.integer())]
    moved = parameters if flags and not flags & _HAS_ARG_TABLE and parameters > SAFE_PARAMETERS else 0
    code = _Code(words, reader.words(), constants, moved, stack)
    _expand(code)
    return b"".join(
        (
            *(start, bytes((upvalues, parameters - moved, flags, code.stack))),
            *(_size(code.words), code.words.tobytes()),
            *(_size(constants), *constants),
            *(_size(functions), *functions),
            *(_size(code.lines), code.lines.tobytes()),
            *_debug(reader, code.places),
        )
    )


def _size(items: array[int] | list[bytes]) -> bytes:
    return struct.pack("<i", len(items))


def _debug(reader: _Reader, places: list[int] | None) -> list[bytes]:
    """Return the names of locals with their spans, and the names of upvalues."""
    parts = [reader.take(4)]
    for _ in range(struct.unpack("<i", parts[0])[0]):
        parts.append(reader.text())
        span = struct.unpack("<ii", reader.take(8))
        parts.append(struct.pack("<ii", *(span if places is None else (places[pc] for pc in span))))
    parts.append(reader.take(4))
    parts.extend(reader.text() for _ in range(struct.unpack("<i", parts[-1])[0]))
    return parts


def _expand(code: _Code) -> None:
    """Rewrite the instructions that need it. Raises BytecodeError."""
    replaced = {pc: _call(code.words[pc], code) for pc in _found(code, _CONCAT)}
    if code.parameters:
        replaced |= {pc: _selection(code.words[pc], code) for pc in _found(code, _VARARG)}
    elif not replaced:
        return
    if code.stack > MAX_STACK or len(code.constants) > MAX_CONSTANTS:
        raise BytecodeError("a function has too many variables or constants")
    old, places = code.words, []
    words = array("I", [_instruction(_VARARG, 0, code.parameters + 1, 0)] if code.parameters else [])
    lines = code.lines[:1] if code.parameters else array("I")
    for pc, word in enumerate(old):
        places.append(len(words))
        words.extend(replaced.get(pc, (word,)))
        lines.extend(code.lines[pc : pc + 1] * (len(words) - places[pc]))
    places.append(len(words))
    _move_jumps(old, words, places)
    code.words, code.lines, code.places = words, lines, places


def _call(word: int, code: _Code) -> list[int]:
    """The registers B to C of a CONCAT are temporary, and C is the last in use: shift them up and call B."""
    a, b, c = word >> 6 & 0xFF, word >> 23, word >> 14 & 0x1FF
    code.stack = max(code.stack, c + 2)
    return [
        *(_instruction(_MOVE, register + 1, register, 0) for register in range(c, b - 1, -1)),
        _LOADK | b << 6 | code.constant(CONCATENATE) << 14,
        _instruction(_CALL, b, c - b + 2, 2),
        _instruction(_MOVE, a, b, 0),
    ]


def _selection(word: int, code: _Code) -> list[int]:
    """VARARG puts values from A on, where nothing is in use: call select there, past the parameters."""
    a, b = word >> 6 & 0xFF, word >> 23
    code.stack = max(code.stack, a + 3)
    return [
        _LOADK | a << 6 | code.constant(SELECT) << 14,
        _LOADK | a + 1 << 6 | code.constant(code.parameters + 1) << 14,
        _instruction(_VARARG, a + 2, 0, 0),
        _instruction(_CALL, a, 0, b),
    ]


def _found(code: _Code, operation: int) -> list[int]:
    return [pc for pc, word in enumerate(code.words) if word & 0x3F == operation and not _is_data(code.words, pc)]


def _is_data(words: array[int], pc: int) -> bool:
    """Return whether the word at `pc` is the operand of the SETLIST before it, and not an instruction."""
    if pc == 0 or words[pc - 1] & 0x3F != _SETLIST or words[pc - 1] >> 14 & 0x1FF:
        return False
    return not _is_data(words, pc - 1)


def _move_jumps(old: array[int], words: array[int], places: list[int]) -> None:
    for pc, word in enumerate(old):
        if word & 0x3F in _JUMPS and not _is_data(old, pc):
            distance = places[pc + 1 + (word >> 14) - _BX_ZERO] - places[pc] - 1
            if abs(distance) >= _BX_ZERO:
                raise BytecodeError("a function is too long")
            words[places[pc]] = word & 0x3FFF | distance + _BX_ZERO << 14
