"""What an agent registers as, checked before it dials."""

from __future__ import annotations

from hubble.base.errors import UsageError
from hubble.base.names import key_problem, name_problem, shown


def check_identity(name: str, key: str) -> None:
    """Raise UsageError if no proxy can accept `name` or `key`."""
    problem = name_problem(name)
    if problem is not None:
        raise UsageError(f"the gateway name {shown(name)} {problem}; choose another with -name")
    problem = key_problem(key)
    if problem is not None:
        raise UsageError(f"the key {problem}; give it on one line, without any")
