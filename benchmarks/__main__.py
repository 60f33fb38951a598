"""Run benchmarks and print a table for each. The exit status is 1 if a benchmark failed or missed its target."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from benchmarks.figures import Figure, table
from benchmarks.lab import Lab
from benchmarks.processes import BenchmarkError

NAMES = (
    "throughput",
    "latency",
    "connections",
    "isolation",
    "sharing",
    "longpath",
    "resumption",
    "memory",
    "mesh",
    "workers",
    "idle",
    "returning",
    "tls",
    "observing",
)


def main() -> int:
    given = _arguments()
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in given.names or NAMES}
    signal.signal(signal.SIGALRM, _out_of_time)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # like Ctrl-C: stops all started processes
    machine = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    print(f"{machine}; medians of {given.rounds} rounds of about {given.seconds:g} s\n", flush=True)
    report: dict[str, Any] = {}
    try:
        for name, module in modules.items():
            report[name] = _run(name, module, given)
    except KeyboardInterrupt:
        return 130
    finally:
        if given.json:
            given.json.write_text(json.dumps({"machine": machine, "benchmarks": report}, indent=2) + "\n")
    return _verdict(report)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"the benchmarks to run (default: all): {', '.join(NAMES)}"
    )
    parser.add_argument("--rounds", type=int, default=3, help="the number of rounds of each measurement (default: 3)")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="the approximate duration of a measurement (default: 2)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample, median and ratio to FILE")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    return given


def _run(name: str, module: ModuleType, given: argparse.Namespace) -> dict[str, Any]:
    """Run one benchmark within its time limit and print its table. Return its report."""
    print(f"## {module.__doc__.splitlines()[0] if module.__doc__ else name}\n", flush=True)
    started = time.monotonic()
    figures: list[Figure] = []
    error = None
    signal.alarm(module.LIMIT)
    try:
        with tempfile.TemporaryDirectory(prefix="hubble-bench-") as scratch, _lab(scratch, given) as lab:
            figures = module.run(lab)
        print(table(figures))
    except BenchmarkError as failure:
        error = str(failure)
        print(f"FAILED: {error}")
    finally:
        signal.alarm(0)
    seconds = time.monotonic() - started
    print(f"\n({name}: {seconds:.0f} s)\n", flush=True)
    return {"seconds": seconds, "error": error, "figures": [figure.as_json() for figure in figures]}


def _lab(scratch: str, given: argparse.Namespace) -> Lab:
    return Lab(Path(scratch), given.rounds, given.seconds)


def _verdict(report: dict[str, Any]) -> int:
    """Print the missed targets. Return the exit status."""
    missed = [f"{name} failed" for name, part in report.items() if part["error"]]
    for name, part in report.items():
        missed += [f"{name}: {figure['case']}" for figure in part["figures"] if figure["met"] is False]
    if missed:
        print("missed targets: " + "; ".join(missed), file=sys.stderr)
    return 1 if missed else 0


def _out_of_time(signal_number: int, frame: FrameType | None) -> None:
    raise BenchmarkError("took longer than it may")


if __name__ == "__main__":
    sys.exit(main())
