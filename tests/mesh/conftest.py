"""Fixtures of the mesh's tests."""

from tests.support.proxyfixtures import entry, exit_agent, old_entry, old_exit, proxy, quick_farewells

__all__ = ["entry", "exit_agent", "old_entry", "old_exit", "proxy", "quick_farewells"]
