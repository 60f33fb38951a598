"""A long path for real TCP, in a network namespace: `python -m benchmarks.slowpath --delay S --rate B`.

This program does in user space what the kernel module netem does, because containers seldom have netem. All packets to
FAR go through a TUN device to this program. It delays each by `--delay` seconds, limits the rate to `--rate` bytes per
second, drops packets that would queue longer than `--delay`, and returns the others with swapped addresses. A client
that connects to FAR therefore reaches the listener on NEAR of the same machine over a path that is long for the
kernel's TCP, with realistic slow start, windows and losses.

It needs root (CAP_SYS_ADMIN), the program `ip` and /dev/net/tun.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import select
import struct
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

NEAR, FAR = "10.9.0.1", "10.9.0.2"
DEVICE, MTU, QUEUE = "slow0", 9000, 10_000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
CLONE_NEWNET = 0x40000000  # linux/sched.h
SOURCE, DESTINATION = slice(12, 16), slice(16, 20)  # RFC 791 section 3.1


def permitted() -> bool:
    """Return whether this machine allows a network namespace and a TUN device."""
    return os.geteuid() == 0 and Path("/dev/net/tun").exists() and _may_unshare()


@contextmanager
def network_namespace() -> Iterator[None]:
    """Start processes of the block in a new, empty network namespace, which ends with its last process."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _call("unshare", CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", before, CLONE_NEWNET)
    finally:
        os.close(before)


def _may_unshare() -> bool:
    try:
        with network_namespace():
            return True
    except OSError:
        return False


def _call(name: str, *arguments: int) -> None:
    """Make a system call that `os` offers only since Python 3.12."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        raise OSError(ctypes.get_errno(), name)


def open_device() -> int:
    """Create the TUN device with a route to FAR. Return its descriptor, which reads and writes whole packets."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    for command in (
        "link set lo up",
        f"addr add {NEAR}/30 dev {DEVICE}",
        f"link set {DEVICE} up mtu {MTU} txqueuelen {QUEUE}",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    return device


def delay_packets(device: int, delay: float, rate: float) -> None:
    """Send every packet back after the delay, forever."""
    waiting: deque[tuple[float, bytes]] = deque()
    free = 0.0  # the time at which the path has sent all queued packets
    while True:
        patience = max(0.0, waiting[0][0] - monotonic()) if waiting else None
        if select.select([device], [], [], patience)[0]:
            packet = os.read(device, 65536)
            now = monotonic()
            if free - now < delay:
                free = max(free, now) + len(packet) / rate
                waiting.append((free + delay, _swapped(packet)))
        while waiting and waiting[0][0] <= monotonic():
            os.write(device, waiting.popleft()[1])


def _swapped(packet: bytes) -> bytes:
    """Return the packet with its addresses swapped. Checksums are sums, so they stay valid (RFC 1071)."""
    return packet[:12] + packet[DESTINATION] + packet[SOURCE] + packet[20:]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slowpath")
    parser.add_argument("--delay", type=float, required=True, help="seconds, in each direction")
    parser.add_argument("--rate", type=float, required=True, help="bytes per second, in both directions together")
    given = parser.parse_args()
    device = open_device()
    print("ready", flush=True)
    delay_packets(device, given.delay, given.rate)


if __name__ == "__main__":
    main()
