"""Run a proxy from Python: `python examples/proxy.py 127.0.0.1:8080`. It grants every session; see docs/policy.md."""

import sys

from gevent import monkey

monkey.patch_all()
from hubble import Proxy  # noqa: E402

Proxy(sys.argv[1]).run()
