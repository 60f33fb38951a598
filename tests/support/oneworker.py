"""One worker of several that share a runtime directory, each on a port of its own, so that a test chooses among them:
`python -m tests.support.oneworker --ports-file FILE -listen ADDRESS RUNTIME_DIRECTORY`.

With `--cluster URL --node NAME` it is one of several machines' workers. SIGTERM drains it, SIGHUP has it reload.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import signal  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402

from hubble.cli.eventloop import stop_on_signals  # noqa: E402
from hubble.cli.logs import set_up  # noqa: E402
from hubble.cli.running import write_ports  # noqa: E402
from hubble.mesh.cluster import Cluster  # noqa: E402
from hubble.proxy.proxy import Proxy  # noqa: E402
from hubble.transport.endpoint import endpoint  # noqa: E402

SECRET = b"what only the machines of this cluster know"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--ports-file")
    parser.add_argument("-listen")
    parser.add_argument("runtime_directory", type=Path)
    parser.add_argument("--cluster")
    parser.add_argument("--node")
    given = parser.parse_args()
    set_up("info", "text")
    cluster = Cluster(given.cluster, given.node, "127.0.0.1", secret=SECRET) if given.cluster else None
    proxy = Proxy(given.listen, runtime_dir=given.runtime_directory, cluster=cluster)
    stop_on_signals(lambda: proxy.drain(5.0))
    gevent.signal_handler(signal.SIGHUP, proxy.reload)
    write_ports(given.ports_file, {"listen": endpoint(*proxy.start())})
    proxy.wait()


if __name__ == "__main__":
    main()
