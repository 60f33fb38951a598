"""Fixtures of the tests of the admin listener."""

from tests.support.proxyfixtures import entry, exit_agent, old_entry, old_exit, proxy, quick_farewells

__all__ = ["entry", "exit_agent", "old_entry", "old_exit", "proxy", "quick_farewells"]
