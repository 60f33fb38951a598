"""The program that the supervisor runs as a worker: `python start.py CHANNEL ARGUMENTS...`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
"""The directory of the package from which the supervisor was imported."""


def main() -> int:
    """Patch the standard library, then run the worker; return the exit status."""
    if ROOT not in sys.path:  # a checkout that is not installed
        sys.path.insert(0, ROOT)
    from hubble.base.descriptors import ensure_standard_descriptors, raise_descriptor_limit

    ensure_standard_descriptors()
    raise_descriptor_limit()
    from gevent import monkey

    monkey.patch_all()
    from hubble.cli import eventloop, strays
    from hubble.worker.worker import main

    strays.catch()
    eventloop.log_hub_errors()
    return main(int(sys.argv[1]), sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
