"""How many examples a property test tries in the profile that is loaded (tests/conftest.py)."""

from __future__ import annotations

from hypothesis import settings

assert settings.default is not None
MAX_EXAMPLES = settings.default.max_examples
