"""Run one attack: `python -m tests.hostile.drivers MODULE FUNCTION ARGUMENTS`, the arguments a JSON object.

Prints what the function returns, as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys

GRACE = 10
"""Seconds beyond its own that an attack may take."""
NICENESS = 10
"""An attacker is another machine: it must not take processor time away from those whom it attacks."""
DESCRIPTORS = 4096


def main() -> None:
    """Run the attack that the command line names."""
    module, function, arguments = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    attack = getattr(importlib.import_module(module), function)
    os.nice(NICENESS)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, most), most))
    signal.alarm(round(arguments["seconds"] + GRACE))
    print(json.dumps(attack(**arguments)))


if __name__ == "__main__":
    main()
