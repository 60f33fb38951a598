"""What happens to the machine around a proxy: its runtime directory is removed, others were left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hubble.directory.sqlite import SQLiteDirectory
from tests.support.commands import hubble
from tests.support.processes import ProxyProcess
from tests.support.services import Service, echo
from tests.support.sockets import assert_echo
from tests.support.stage import Stage
from tests.support.waiting import poll

AGAIN = 10.0
"""Seconds within which what was removed is there again."""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    try:
        yield stage
        assert not stage.end()
    finally:
        stage.kill()


def files(directory: Path) -> set[str]:
    """What is in a runtime directory, without what SQLite makes and removes."""
    names = {path.name for path in directory.iterdir()} if directory.exists() else set()
    return {name for name in names if not name.startswith("directory.sqlite-") and name != "slots"}


class TestARuntimeDirectory:
    @pytest.mark.parametrize("what", ["everything", "each file"])
    def test_that_is_removed_is_made_again(self, stage: Stage, tmp_path: Path, what: str) -> None:
        runtime = tmp_path / "run"
        service = stage.add(Service(echo))
        tunnel = stage.tunnel(
            service.port,
            proxy_options=("--workers", "2", "--runtime-dir", str(runtime), "--admin", "127.0.0.1:0"),
        )
        hubble("hubble-proxy", "kick", "blocked", "--block", "--runtime-dir", str(runtime))
        before = files(runtime)
        assert len([name for name in before if name.endswith(".sock")]) == 3
        if what == "everything":
            shutil.rmtree(runtime)
        else:
            for name in before:
                (runtime / name).unlink()
        poll(lambda: files(runtime) == before, AGAIN, "all files are there again")
        assert runtime.stat().st_mode & 0o777 == 0o700
        assert json.loads((runtime / "blocked.json").read_text()) == ["blocked"]
        agents = [stage.agent(tunnel.proxy.url, f"exit{number}") for number in range(4)]
        rules = [f"0:{agent.argv[agent.argv.index('-name') + 1]}:127.0.0.1:{service.port}" for agent in agents]
        entry = stage.agent(tunnel.proxy.url, "later", *rules)
        for rule in range(len(rules)):  # some of them cross the mesh
            assert_echo(entry.port(rule))
        assert_echo(tunnel.port())
        status = hubble("hubble-proxy", "gateways", "--json", "--runtime-dir", str(runtime))
        assert len(json.loads(status.stdout)["items"]) == 7
        worker = tunnel.proxy.children()[0]
        os.kill(worker, signal.SIGKILL)
        tunnel.proxy.log.wait_for("is serving")
        assert_echo(tunnel.port())

    def test_whose_lock_another_proxy_has_is_left_to_it(self, stage: Stage, tmp_path: Path) -> None:
        runtime = tmp_path / "run"
        options = ("--runtime-dir", str(runtime))
        first = stage.proxy(*options, name="first")
        os.kill(first.pid, signal.SIGSTOP)
        shutil.rmtree(runtime)
        second = stage.proxy(*options, name="second")
        os.kill(first.pid, signal.SIGCONT)
        first.log.wait_for(
            "cannot recreate the runtime directory .*: another proxy has it now: give each a --runtime-dir of its own"
        )
        assert second.running


class TestACommand:
    def test_asks_the_proxy_that_runs_and_not_those_that_were_killed(
        self, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base = tmp_path / "hubble"
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        said = hubble("hubble-proxy", "status")
        assert said.returncode == 2 and said.stderr.startswith(f"hubble-proxy status: no proxy runs below {base}; give")
        killed, live = (self._proxy(stage, base, name) for name in ("killed", "live"))
        several = hubble("hubble-proxy", "status")
        assert several.returncode == 2
        assert several.stderr == (
            f"hubble-proxy status: several proxies run, with {base / 'killed'}, {base / 'live'}; choose one with "
            "--runtime-dir\n"
        )
        killed.kill()
        alone = hubble("hubble-proxy", "status", "--json")
        assert alone.returncode == 0 and json.loads(alone.stdout)["version"], alone.stderr
        stale = hubble("hubble-proxy", "status", "--runtime-dir", str(base / "killed"))
        assert stale.returncode == 1
        assert stale.stderr.endswith("cannot be reached: Connection refused\n") and stale.stderr.count("\n") == 1
        assert live.stop() == 0
        assert "no proxy runs below" in hubble("hubble-proxy", "status").stderr

    def _proxy(self, stage: Stage, base: Path, name: str) -> ProxyProcess:
        base.mkdir(exist_ok=True)
        return stage.proxy("--runtime-dir", str(base / name), "--admin", "127.0.0.1:0", name=name)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=755", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1024))


class TestAFullDisk:
    def test_under_the_runtime_directory_stops_nobody(self, tiny_disk: Path, stage: Stage) -> None:
        service = stage.add(Service(echo))
        tunnel = stage.tunnel(
            service.port,
            proxy_options=("--workers", "2", "--runtime-dir", str(tiny_disk / "run"), "--max-rate", "1000"),
        )
        filler = tiny_disk / "filler"
        fill(filler)
        tunnel.proxy.log.wait_for("continuing from memory")
        late = stage.agent(tunnel.proxy.url, "late")
        tunnel.exit.stop()
        tunnel.exit.start()
        poll(lambda: echoes(tunnel.port()), AGAIN, "the exit is back")
        for worker in tunnel.proxy.children():
            mark = tunnel.proxy.log.mark()
            os.kill(worker, signal.SIGKILL)
            tunnel.proxy.log.wait_for("is serving", after=mark)
            poll(lambda: echoes(tunnel.port()), AGAIN, "sessions work after a worker's death")
        filler.unlink()
        tunnel.proxy.log.wait_for("the directory is writable again", times=2)
        directory = SQLiteDirectory(tiny_disk / "run" / "directory.sqlite")
        names = ("exit", "entry", "late")
        poll(lambda: all(directory.find(name) for name in names), AGAIN, "all names are written")
        directory.close()
        assert late.running and echoes(tunnel.port())


def echoes(port: int) -> bool:
    """Whether a session works now."""
    try:
        assert_echo(port, 2)
    except (OSError, EOFError):
        return False
    return True
