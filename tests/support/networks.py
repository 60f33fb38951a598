"""Networks of the kernel's own, in namespaces: what cannot see each other here could not in the world.

office 10.1.0.2 -- 10.1.0.1 router (NAT) 203.0.113.101 --.
                                                         internet 203.0.113.10
lab 10.2.0.2 -- 10.2.0.1 gate (no way through) 203.0.113.102 --'
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.support.programs import require

INTERNET, ROUTER, GATE = "203.0.113.10", "203.0.113.101", "203.0.113.102"
OFFICE, LAB = "10.1.0.2", "10.2.0.2"
OFFICE_ROUTER, LAB_GATE = "10.1.0.1", "10.2.0.1"

NAT = """
table ip nat {
    chain postrouting {
        type nat hook postrouting priority 100;
        oifname "outside" masquerade
    }
}
table ip filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname "inside" accept
    }
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
    }
}
"""


class Namespaces:
    """Network namespaces by short names; all of them, and what runs in them, are gone in the end."""

    def __init__(self) -> None:
        self._ip = require("ip")
        self._made: list[str] = []

    def add(self, name: str) -> None:
        """Make one, whose loopback is up. Skips the test where the kernel does not allow that."""
        made = subprocess.run([self._ip, "netns", "add", self._full(name)], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"the kernel allows no network namespaces: {made.stderr.strip()}")
        self._made.append(name)
        self.run(name, self._ip, "link", "set", "lo", "up")

    def join(self, one: str, address: str, device: str, other: str, other_address: str, other_device: str) -> None:
        """A cable between two, with an address (and prefix length) and a device's name at each end."""
        ends = ((one, address, device), (other, other_address, other_device))
        names = [f"{os.getpid() % 100000}{name[:4]}{number}" for number, (name, _, _) in enumerate(ends)]
        made = subprocess.run(
            [self._ip, "link", "add", names[0], "type", "veth", "peer", "name", names[1]],
            capture_output=True,
            text=True,
        )
        if made.returncode:
            pytest.skip(f"the kernel allows no veth devices: {made.stderr.strip()}")
        for temporary, (name, own, own_device) in zip(names, ends, strict=True):
            subprocess.run(
                [self._ip, "link", "set", temporary, "netns", self._full(name), "name", own_device], check=True
            )
            self.run(name, self._ip, "address", "add", own, "dev", own_device)
            self.run(name, self._ip, "link", "set", own_device, "up")

    def within(self, name: str, *command: str) -> list[str]:
        """The command that runs `command` in a namespace, in whose place it comes: they have one process id."""
        return [self._ip, "netns", "exec", self._full(name), *command]

    def run(self, name: str, *command: str, text: str = "") -> None:
        """Run a command in a namespace, which must succeed."""
        done = subprocess.run(self.within(name, *command), input=text, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, f"{command}: {done.stderr}"

    def reaches(self, name: str, address: str, port: int) -> bool:
        """Whether a TCP connection can be made from a namespace."""
        command = self.within(name, require("nc"), "-z", "-w", "1", address, str(port))
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0

    def close(self) -> None:
        for name in self._made:
            pids = subprocess.run([self._ip, "netns", "pids", self._full(name)], capture_output=True, text=True).stdout
            for pid in pids.split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), 9)
            subprocess.run([self._ip, "netns", "delete", self._full(name)], check=False)

    def _full(self, name: str) -> str:
        return f"hubble-{os.getpid()}-{name}"


@contextmanager
def networks() -> Iterator[Namespaces]:
    """The namespaces of the picture above: office, router, internet, gate and lab."""
    spaces = Namespaces()
    try:
        for name in ("internet", "router", "gate", "office", "lab"):
            spaces.add(name)
        spaces.join("office", f"{OFFICE}/24", "out", "router", f"{OFFICE_ROUTER}/24", "inside")
        spaces.join("lab", f"{LAB}/24", "out", "gate", f"{LAB_GATE}/24", "inside")
        # Each private network has a cable of its own to the internet; both ends of it are public addresses.
        spaces.join("router", f"{ROUTER}/32", "outside", "internet", f"{INTERNET}/32", "office")
        spaces.join("gate", f"{GATE}/32", "outside", "internet", f"{INTERNET}/32", "lab")
        for name, device in (("router", "outside"), ("gate", "outside")):
            spaces.run(name, "ip", "route", "add", INTERNET, "dev", device)
        spaces.run("internet", "ip", "route", "add", ROUTER, "dev", "office")
        spaces.run("internet", "ip", "route", "add", GATE, "dev", "lab")
        spaces.run("office", "ip", "route", "add", "default", "via", OFFICE_ROUTER)
        spaces.run("lab", "ip", "route", "add", "default", "via", LAB_GATE)
        spaces.run("router", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        _set_up_nat(spaces)
        yield spaces
    finally:
        spaces.close()


def _set_up_nat(spaces: Namespaces) -> None:
    command = spaces.within("router", require("nft"), "-f", "-")
    done = subprocess.run(command, input=NAT, capture_output=True, text=True, timeout=20)
    if done.returncode:
        pytest.skip(f"the kernel allows no NAT by nftables: {done.stderr.strip()}")
