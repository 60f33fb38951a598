"""How many examples a property test tries in the profile that is loaded (tests/conftest.py)."""

from __future__ import annotations

from hypothesis import settings

assert settings.default is not None
MAX_EXAMPLES = settings.default.max_examples
TIMEOUT = MAX_EXAMPLES + 300
"""Seconds for a test of a whole state machine: hypothesis takes up to 300 to make a failing example smaller."""
