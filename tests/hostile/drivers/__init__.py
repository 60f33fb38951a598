"""Attacks, each a function that takes `port`, `seconds` and options of its own, all by keyword, and returns its counts.

Each runs in a process of its own (`python -m tests.hostile.drivers`), bounded in time, and uses no gevent.
"""
