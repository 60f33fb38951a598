"""hubble-proxy with other workers, and another patience: `python -m tests.support.quick BEHAVIOURS PATIENCE ...`.

BEHAVIOURS: of its workers, see noop.py. PATIENCE: what differs from PATIENT, as JSON; `takeover` is how long a
successor waits for the listeners, `broken` has it trip over the death of a worker. The rest is hubble-proxy's.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial

from hubble.cli import proxy
from hubble.supervisor import supervisor, takeover
from hubble.supervisor.supervisor import Patience, Supervisor
from tests.support.noop import VARIABLE

PATIENT = {"restart_first": 0.05}


def main() -> int:
    _, os.environ[VARIABLE], patience, *arguments = sys.argv
    command = os.environ.get("NOOP_COMMAND", sys.executable)
    proxy.WORKER = (command, "-S", "-m", "tests.support.noop")  # type: ignore[assignment]
    waits = PATIENT | json.loads(patience)
    takeover.TIMEOUT = waits.pop("takeover", takeover.TIMEOUT)
    if waits.pop("broken", 0):
        supervisor.how = None  # type: ignore[assignment, attr-defined]
    proxy.Supervisor = partial(Supervisor, patience=Patience(**waits))  # type: ignore[assignment, attr-defined]
    return proxy.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
