"""Descriptors 0 to 2: open, whatever started this process."""

from __future__ import annotations

import os


def ensure_standard_descriptors() -> None:
    """Open /dev/null for each of standard input, output and error that is closed. Call it before anything else.

    Otherwise the next file or socket takes the number, and text for standard error is written into it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
