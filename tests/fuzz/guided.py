"""`python -m tests.fuzz.guided TARGET OPTION ...`: one target under Atheris; the options are those of libFuzzer."""

from __future__ import annotations

import logging
import sys

import atheris

with atheris.instrument_imports(include=["hubble", "websockets"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run until the time is over or a defect was found."""
    logging.disable(logging.CRITICAL)
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
