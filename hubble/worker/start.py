"""What the supervisor runs as a worker: `python start.py CHANNEL ARGUMENTS...`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
"""Where the package is that the supervisor was imported from."""


def main() -> int:
    """Patch the standard library first, then go to work; the exit status."""
    if ROOT not in sys.path:  # a checkout that is not installed
        sys.path.insert(0, ROOT)
    from hubble.base.descriptors import ensure_standard_descriptors

    ensure_standard_descriptors()
    from gevent import monkey

    monkey.patch_all()
    from hubble.cli import eventloop, strays
    from hubble.worker.worker import main

    strays.catch()
    eventloop.log_what_the_hub_prints()
    return main(int(sys.argv[1]), sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
