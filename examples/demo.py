"""Send a file of 100 MB through Hubble while the proxy is killed and restarted: `make demo`, or run this file.

Three programs on this machine represent three places. The proxy represents a public server. agent2 represents the
network of a service, here Python's HTTP server. agent1 represents your network: its rule listens on a local port, and
connections to this port reach the service. All processes end with the demo.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
SIZE = 100_000_000  # bytes
KILL_AT = 0.4  # of the second download
LIMIT = 55  # seconds for everything
PATIENCE = 30  # seconds without a byte after which a connection fails


class DemoError(Exception):
    """A step of the demo failed. The text is one line."""


class Program:
    """A running program with its output in a log file. It is stopped when its `with` block ends."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name, self.log = name, log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_for(self, is_ready: Callable[[], bool], what: str) -> None:
        """Wait for up to 15 s until `is_ready` returns True. Raises DemoError."""
        deadline = time.monotonic() + 15
        while not is_ready():
            if self.process.poll() is not None:
                raise DemoError(f"{self.name} ended with status {self.process.returncode} before it was {what}")
            if time.monotonic() > deadline:
                raise DemoError(f"{self.name} was not {what} within 15 s")
            time.sleep(0.02)


class Demo:
    """The programs of the demo and its scratch directory."""

    def __init__(self, scratch: Path, programs: ExitStack) -> None:
        self.scratch, self.programs = scratch, programs

    def start(self, name: str, *command: str) -> Program:
        program = Program(name, [sys.executable, *command], self.scratch / f"{name}.log")
        return self.programs.enter_context(program)

    def start_service(self, directory: Path) -> int:
        """Start an HTTP server for the files in `directory`. Return its port."""
        command = ["-u", "-m", "http.server", "--bind", "127.0.0.1", "--protocol", "HTTP/1.1"]
        server = self.start("http.server", *command, "--directory", str(directory), "0")
        server.wait_for(lambda: "Serving HTTP" in server.log.read_text(), "listening")
        return int(server.log.read_text().split(" port ")[1].split()[0])

    def start_proxy(self, listen: str = "127.0.0.1:0") -> tuple[Program, str]:
        """Start the proxy. Return it and its address. `-authgrant` avoids the warning that no policy is set."""
        ports = self.scratch / "proxy.json"
        ports.unlink(missing_ok=True)
        command = ["-authgrant", "-listen", listen, "--ports-file", str(ports)]
        proxy = self.start("proxy", str(ROOT / "bin/hubble-proxy"), *command)
        proxy.wait_for(ports.exists, "listening")
        return proxy, json.loads(ports.read_text())["listen"]

    def start_agent(self, name: str, proxy: str, *rules: str) -> list[int]:
        """Start an agent. Return the ports on which its rules listen."""
        ports = self.scratch / f"{name}.json"
        command = ["-url", f"ws://{proxy}", "-name", name, "--ports-file", str(ports), *rules]
        agent = self.start(name, str(ROOT / "bin/hubble-agent"), *command)
        agent.wait_for(lambda: ports.exists() and "registered as" in agent.log.read_text(), "registered")
        return [rule["port"] for rule in json.loads(ports.read_text())["rules"]]


def make_file(path: Path) -> str:
    """Write SIZE random bytes. Return their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(SIZE // 1_000_000):
            block = os.urandom(1_000_000)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def download(port: int, expected: str, watch: Callable[[float], None]) -> tuple[float, float]:
    """Download the file and compare its checksum. Calls `watch` with the fraction that has arrived.

    Return the duration and the longest time without a byte, both in seconds.
    """
    started = latest = time.monotonic()
    pause = 0.0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/file")
    response = connection.getresponse()
    digest, buffer, done = hashlib.sha256(), memoryview(bytearray(1 << 20)), 0
    while count := response.readinto(buffer):
        digest.update(buffer[:count])
        done += count
        pause, latest = max(pause, time.monotonic() - latest), time.monotonic()
        show_progress(done, latest - started)
        watch(done / SIZE)
    connection.close()
    if digest.hexdigest() != expected:
        raise DemoError(f"a download arrived damaged: {done:,} of {SIZE:,} bytes, SHA-256 {digest.hexdigest()}")
    return latest - started, pause


def show_progress(done: int, seconds: float) -> None:
    """Show a progress bar if the output is a terminal."""
    if sys.stdout.isatty():
        bar, end = "#" * (40 * done // SIZE), "\n" if done == SIZE else ""
        print(f"\r   [{bar:<40}] {100 * done // SIZE:3} %  {done / seconds / 1e6:4.0f} MB/s", end=end, flush=True)


def latency(port: int, requests: int = 200) -> float:
    """Return the median duration of a small HTTP request, in seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    durations = []
    for _ in range(requests):
        started = time.perf_counter()
        connection.request("HEAD", "/file")
        connection.getresponse().read()
        durations.append(time.perf_counter() - started)
    connection.close()
    return median(durations)


def run(demo: Demo) -> None:
    """Run the steps of the demo."""
    files = demo.scratch / "files"
    files.mkdir()
    checksum = make_file(files / "file")

    service = demo.start_service(files)
    proxy, address = demo.start_proxy()
    demo.start_agent("agent2", address)
    rule = f"0:agent2:127.0.0.1:{service}"
    (port,) = demo.start_agent("agent1", address, rule)
    print(f"An HTTP server on port {service}, a proxy on {address}, agent2 beside the server,")
    print(f"and agent1 with the rule {rule}, which listens on port {port}.\n")

    print(f"1. {SIZE // 1_000_000} MB from the server through agent2, proxy and agent1")
    seconds, _ = download(port, checksum, lambda share: None)
    print(f"   {SIZE / seconds / 1e6:.0f} MB/s; the SHA-256 {checksum[:16]}... is correct\n")

    print("2. 200 small HTTP requests")
    print(f"   {latency(port) * 1e3:.2f} ms (median)\n")

    print(f"3. the same file again; at {KILL_AT:.0%} the proxy and its workers are killed (SIGKILL) and restarted")

    def kill_and_restart(share: float) -> None:
        if share >= KILL_AT and proxy.process.poll() is None:
            os.killpg(proxy.process.pid, signal.SIGKILL)  # with its workers
            proxy.process.wait()
            demo.start_proxy(address)

    seconds, pause = download(port, checksum, kill_and_restart)
    print(f"   one connection, {seconds:.1f} s with a pause of {pause:.1f} s; the SHA-256 is correct\n")

    print("A local port led to a service in another network, which opened no port. The file arrived undamaged.")
    print("A connection survived the death of its proxy: its two ends noticed only a pause.")


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C, so that the blocks below stop all programs
    signal.signal(signal.SIGALRM, out_of_time)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory(prefix="hubble-demo-") as scratch, ExitStack() as programs:
        demo = Demo(Path(scratch), programs)
        signal.alarm(LIMIT)
        try:
            run(demo)
        except KeyboardInterrupt:
            return 130
        except (DemoError, OSError, http.client.HTTPException) as error:
            print(f"\nThe demo failed: {error or type(error).__name__}", file=sys.stderr)
            for log in sorted(demo.scratch.glob("*.log")):
                tail = log.read_text(errors="replace").splitlines()[-5:]
                print("\n".join([f"--- the end of {log.name}", *tail]), file=sys.stderr)
            return 1
        finally:
            signal.alarm(0)
    return 0


def out_of_time(signal_number: int, frame: object) -> None:
    raise DemoError(f"it took longer than {LIMIT} s")


if __name__ == "__main__":
    sys.exit(main())
