"""Patches the standard library before anything else is imported: `pytest -p gevent` alone patches nothing."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# `make test-deep` runs the property tests with 20 times as many examples.
settings.register_profile("quick", max_examples=100, deadline=None)
settings.register_profile("deep", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The whole programs last: what is wrong with a part shows sooner, and more clearly, in its own tests."""
    items.sort(key=lambda item: item.path.parent.name in ("e2e", "hostile"))
