"""The file descriptors of this process: 0 to 2 are open, and there may be as many as the system allows."""

from __future__ import annotations

import os
from contextlib import suppress


def ensure_standard_descriptors() -> None:
    """Open /dev/null in place of each of descriptors 0 to 2 that is closed. Call it before anything else.

    Otherwise the next file or socket takes the number, and text for standard error is written to it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard limit. The usual soft limit of 1,024 is kept for select()."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError, OSError):  # some systems do not accept their own hard limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
