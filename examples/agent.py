"""Run an agent from Python: `python examples/agent.py ws://127.0.0.1:8080 agent1 2222:agent2:127.0.0.1:22`."""

import sys

from gevent import monkey

monkey.patch_all()
from hubble import Agent  # noqa: E402

Agent(sys.argv[1], sys.argv[2], sys.argv[3:]).run()
