"""Policies, which decide on registrations and sessions. See docs/policy.md.

A proxy wraps every authorizer with `guarded`. The Lua and TOML policies are imported when they are first used.

authorizer  the interface, authorizers that need no file, and the wrapper that fails closed
request     requests to an authorizer, and its decisions
cached      caches decisions for as long as they allow
digest      digests that stand for keys in logs and events
rules       the authorizer that applies a file of identities and rules
rulesfile   parses that file
keys        hashed keys, and verifying them
verifier    verifies keys against hashes, fairly and once
knownkeys   keys that were verified before
watched     a file that is reloaded when it changes
lua/        the authorizer that runs a script
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hubble.policy.authorizer import (
    Authorizer,
    DenyAll,
    FailClosed,
    FunctionPolicy,
    GrantAll,
    load_python_authorizer,
)
from hubble.policy.cached import Cached
from hubble.policy.digest import key_digest, set_digest_secret
from hubble.policy.request import (
    AUTHORIZATION_ERROR,
    BUSY,
    UNAUTHORIZED,
    ConnectionRequest,
    Decision,
    RegistrationRequest,
    busy,
    denied,
    failed,
    granted,
)

if TYPE_CHECKING:
    from hubble.policy.keys import hash_key
    from hubble.policy.lua.limits import Limits
    from hubble.policy.lua.policy import LuaPolicy
    from hubble.policy.rules import RulesPolicy

_LATER = {
    "Limits": "hubble.policy.lua.limits",
    "LuaPolicy": "hubble.policy.lua.policy",
    "RulesPolicy": "hubble.policy.rules",
    "hash_key": "hubble.policy.keys",
}

__all__ = [
    "AUTHORIZATION_ERROR",
    "BUSY",
    "UNAUTHORIZED",
    "Authorizer",
    "Cached",
    "ConnectionRequest",
    "Decision",
    "DenyAll",
    "FailClosed",
    "FunctionPolicy",
    "GrantAll",
    "Limits",
    "LuaPolicy",
    "RegistrationRequest",
    "RulesPolicy",
    "busy",
    "denied",
    "failed",
    "granted",
    "guarded",
    "hash_key",
    "key_digest",
    "load_python_authorizer",
    "set_digest_secret",
]


def guarded(authorizer: Authorizer) -> Authorizer:
    """Return the authorizer with a cache, failing closed."""
    return FailClosed(Cached(authorizer))


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)
