"""The proxy's options on policy, and the authorizer that they mean."""

from __future__ import annotations

import logging
from argparse import Namespace

from hubble.cli.arguments import Parser, count, seconds, size
from hubble.errors import UsageError
from hubble.policy import Authorizer, DenyAll, GrantAll, Limits, LuaPolicy, RulesPolicy, load_python_authorizer
from hubble.proxy.limits import AbuseLimits

log = logging.getLogger(__name__)

CHOICES = ("authgrant", "authdeny", "authlua", "auth-rules", "auth-python")
LUA, ABUSE = Limits(), AbuseLimits()


def add_policy_options(parser: Parser) -> None:
    """Which policy, its limits, and the limits on everybody."""
    parser.switch("authgrant", help="grant every session")
    parser.switch("authdeny", help="deny every session")
    parser.option("authlua", metavar="SCRIPT", help="let a Lua script decide on each session")
    parser.option("auth-rules", metavar="FILE", help="let the rules in a TOML file decide")
    parser.option("auth-python", metavar="MODULE:CLASS", help="let a Python class decide")
    parser.option("lua-time", type=seconds, default=LUA.total, metavar="S", help="the longest run of the script")
    parser.option("lua-cpu", type=seconds, default=LUA.cpu, metavar="S", help="the longest it may compute")
    parser.option("lua-memory", type=size, default=LUA.memory, metavar="BYTES", help="the most memory it may use")
    parser.switch("lua-unsafe", help="let the script reach files and processes")
    parser.option("reauthorize", type=seconds, metavar="S", help="ask again about what is live, every so often")
    parser.option("max-sessions", type=count, default=ABUSE.sessions, metavar="N", help="sessions of one gateway")
    parser.option("max-rate", type=count, default=ABUSE.sessions_per_second, metavar="N",
                  help="new sessions a second of one gateway")  # fmt: skip
    parser.option("max-registrations", type=count, default=ABUSE.registrations_per_minute, metavar="N",
                  help="registrations a minute from one address")  # fmt: skip
    parser.option("max-strangers", type=count, default=ABUSE.strangers, metavar="N",
                  help="links that have not said yet who they are")  # fmt: skip


def policy(options: Namespace) -> Authorizer:
    """The authorizer that the options name. Raises UsageError for more than one, and for one that does not load."""
    named = [name for name in CHOICES if getattr(options, name.replace("-", "_"))]
    if len(named) > 1:
        raise UsageError(f"-{named[0]} and -{named[1]} exclude each other: give one of them")
    if options.authlua:
        limits = Limits(total=options.lua_time, cpu=options.lua_cpu, memory=options.lua_memory)
        return LuaPolicy(options.authlua, limits, unsafe=options.lua_unsafe)
    if options.auth_rules:
        return RulesPolicy(options.auth_rules)
    if options.auth_python:
        return load_python_authorizer(options.auth_python)
    if options.authdeny:
        return DenyAll()
    if not options.authgrant:
        log.warning("no policy was given: every session is granted (-authgrant says so without this warning)")
    return GrantAll()


def abuse_limits(options: Namespace) -> AbuseLimits:
    """The limits on everybody."""
    return AbuseLimits(
        sessions=options.max_sessions,
        sessions_per_second=options.max_rate,
        registrations_per_minute=options.max_registrations,
        strangers=options.max_strangers,
    )
