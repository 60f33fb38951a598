"""The options of the policy, and of the limits that apply regardless of it."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import fields
from pathlib import Path
from typing import Any

from hubble.base.errors import UsageError
from hubble.options.proxy import POLICIES
from hubble.policy import Authorizer, DenyAll, GrantAll, Limits, LuaPolicy, RulesPolicy, load_python_authorizer
from hubble.proxy.gateways.limits import AbuseLimits


def policy(options: Namespace, runtime_dir: Path | None = None) -> Authorizer:
    """Return the authorizer that the options name. Raises UsageError if they name several, or if it fails to load."""
    named = [name for name in POLICIES if getattr(options, name.replace("-", "_"))]
    if len(named) > 1:
        raise UsageError(f"-{named[0]} and -{named[1]} exclude each other; give one of them")
    if options.authlua:
        limits = _given(total=options.lua_time, cpu=options.lua_cpu, memory=options.lua_memory)
        return LuaPolicy(options.authlua, Limits(**limits), unsafe=options.lua_unsafe)
    if options.auth_rules:
        return RulesPolicy(options.auth_rules, runtime_dir)
    if options.auth_python:
        return load_python_authorizer(options.auth_python)
    return DenyAll() if options.authdeny else GrantAll()


def abuse_limits(options: Namespace) -> AbuseLimits:
    """Return the limits that apply regardless of the policy."""
    return AbuseLimits(**_given(**{one.name: getattr(options, one.metadata["option"]) for one in fields(AbuseLimits)}))


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
