"""Many agents in one process: `python -m tests.support.manyagents --ports-file FILE AGENTS`, a list in JSON.

Each is an object of its `url` (one or several), `name` and `rules`. The ports file holds the rules' ports by name.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import json  # noqa: E402

import gevent  # noqa: E402

from hubble.agent.agent import Agent  # noqa: E402
from hubble.cli.eventloop import log_greenlets_on_signal, stop_on_signals  # noqa: E402
from hubble.cli.logs import set_up  # noqa: E402
from hubble.cli.running import write_ports  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ports-file")
    parser.add_argument("agents", type=json.loads)
    given = parser.parse_args()
    set_up("info", "text")
    agents = {each["name"]: Agent(each["url"], each["name"], each.get("rules", ())) for each in given.agents}

    def stop() -> None:
        gevent.joinall([gevent.spawn(agent.stop) for agent in agents.values()])

    stop_on_signals(stop)
    log_greenlets_on_signal()
    ports = {name: [port for _, _, port in agent.start()] for name, agent in agents.items()}
    write_ports(given.ports_file, ports)
    for agent in agents.values():
        agent.wait()


if __name__ == "__main__":
    main()
