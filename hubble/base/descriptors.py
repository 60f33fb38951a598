"""Standard input, output and error: open, however this process was started."""

from __future__ import annotations

import os


def ensure_standard_descriptors() -> None:
    """Open /dev/null in place of each of descriptors 0 to 2 that is closed. Call it before anything else.

    Otherwise the next file or socket takes the number, and text for standard error is written to it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
