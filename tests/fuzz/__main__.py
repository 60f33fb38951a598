"""`python -m tests.fuzz [TARGET ...] [--seconds N]`: fuzz, and keep each input that shows a defect in the corpus."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import logging
import random
import subprocess
import sys
import tempfile
import time
import traceback

from tests.fuzz.mutations import CORPUS, LONGEST, corpus, mutated
from tests.fuzz.targets import TARGETS

GUIDED = importlib.util.find_spec("atheris") is not None


def blindly(name: str, seconds: float, seed: int | None = None) -> bool:
    """Run mutated inputs for so long; whether none showed a defect."""
    target, chance, seeds = TARGETS[name], random.Random(seed), corpus(name)
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        data = mutated(chance, seeds)
        count += 1
        try:
            target(data)
        except Exception:
            traceback.print_exc()
            kept = CORPUS / name / hashlib.sha256(data).hexdigest()[:12]
            kept.write_bytes(data)
            print(f"{name}: a defect, kept as {kept}", flush=True)
            return False
    print(f"{name}: {count} inputs without a defect", flush=True)
    return True


def guided(name: str, seconds: float) -> bool:
    """Have Atheris fuzz for so long, in a process of its own; whether it found no defect."""
    with tempfile.TemporaryDirectory() as found:
        options = [f"-max_total_time={round(seconds)}", f"-artifact_prefix={CORPUS / name}/", "-timeout=10"]
        options += [f"-max_len={LONGEST}", "-verbosity=0", "-print_final_stats=1", found, str(CORPUS / name)]
        return subprocess.run([sys.executable, "-m", "tests.fuzz.guided", name, *options]).returncode == 0


def main() -> int:
    """Fuzz the named targets, or all, each for so many seconds."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (default: 60)")
    parser.add_argument("--blindly", action="store_true", help="without Atheris, though it is installed")
    parser.add_argument("--seed", type=int, help="try the same inputs each time, without Atheris")
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown targets: {', '.join(sorted(unknown))}; write some of {', '.join(TARGETS)}")
    logging.disable(logging.CRITICAL)
    is_guided = GUIDED and not options.blindly and options.seed is None
    outcomes = [
        guided(name, options.seconds) if is_guided else blindly(name, options.seconds, options.seed)
        for name in options.targets or TARGETS
    ]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
