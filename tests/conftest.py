"""Patches the standard library before anything else is imported: `pytest -p gevent` alone patches nothing."""

from gevent import monkey

monkey.patch_all()
