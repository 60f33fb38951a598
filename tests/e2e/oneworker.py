"""One worker of several that share a runtime directory, each on a port of its own, so that a test chooses among them:
`python -m tests.e2e.oneworker --ports-file FILE -listen ADDRESS RUNTIME_DIRECTORY`.

SIGTERM drains it, SIGHUP has it reload.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import signal  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402

from hubble.cli.logs import set_up  # noqa: E402
from hubble.cli.running import stop_on_signals, write_ports  # noqa: E402
from hubble.proxy.proxy import Proxy  # noqa: E402
from hubble.transport.addresses import endpoint  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ports-file")
    parser.add_argument("-listen")
    parser.add_argument("runtime_directory", type=Path)
    given = parser.parse_args()
    set_up("info", "text")
    proxy = Proxy(given.listen, runtime_dir=given.runtime_directory)
    stop_on_signals(lambda: proxy.drain(5.0))
    gevent.signal_handler(signal.SIGHUP, proxy.reload)
    write_ports(given.ports_file, {"listen": endpoint(*proxy.start())})
    proxy.wait()


if __name__ == "__main__":
    main()
