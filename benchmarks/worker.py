"""One worker of a proxy on its own port: `python -m benchmarks.worker RUNTIME_DIRECTORY [REDIS_URL]` prints the port.

The workers of hubble-proxy share a port. Here a benchmark can choose a worker.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from hubble.proxy.proxy import Proxy  # noqa: E402
from hubble.transport.endpoint import endpoint  # noqa: E402


def main() -> None:
    proxy = Proxy("127.0.0.1:0", runtime_dir=Path(sys.argv[1]))
    print(endpoint(*proxy.start()), flush=True)
    proxy.wait()


if __name__ == "__main__":
    main()
