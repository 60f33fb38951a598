"""Patches the standard library before any plugin that is installed is loaded: some import ssl and threading."""

from gevent import monkey

monkey.patch_all()
