"""One worker of a proxy, on a port of its own: `python -m benchmarks.worker RUNTIME_DIRECTORY [REDIS_URL]` prints it.

hubble-proxy's workers share a port; here a benchmark is to choose among them.
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
