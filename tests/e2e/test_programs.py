"""Real programs work through the tunnel as they do without it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.commands import run
from tests.support.postgres import Postgres
from tests.support.programs import require
from tests.support.scale import MB, scaled
from tests.support.services import HttpFiles
from tests.support.sshd import Sshd
from tests.support.stage import Stage
from tests.support.trees import contents, make_tree


def test_ssh_runs_a_command(stage: Stage, sshd: Sshd) -> None:
    tunnel = stage.tunnel(sshd.port)
    command = [require("ssh"), *sshd.options(), "-p", str(tunnel.port()), "localhost", "cat; echo done"]
    assert run(command, stdin=b"typed\n") == b"typed\ndone\n"


def test_scp_copies_a_large_file(stage: Stage, sshd: Sshd, tmp_path: Path) -> None:
    original, copy, back = tmp_path / "original", tmp_path / "copy", tmp_path / "back"
    original.write_bytes(random.Random(1).randbytes(50 * MB))
    tunnel = stage.tunnel(sshd.port)
    scp = [require("scp"), *sshd.options(), "-P", str(tunnel.port())]
    run([*scp, original, f"localhost:{copy}"])
    assert copy.read_bytes() == original.read_bytes()
    run([*scp, f"localhost:{copy}", back])
    assert back.read_bytes() == original.read_bytes()


def test_rsync_copies_a_tree_of_small_files(stage: Stage, sshd: Sshd, tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    make_tree(original, files=2000, largest=8192)
    tunnel = stage.tunnel(sshd.port)
    shell = " ".join([require("ssh"), *sshd.options(), "-p", str(tunnel.port())])
    run([require("rsync"), "-a", "-e", shell, f"{original}/", f"localhost:{copy}"])
    assert len(contents(copy)) == 2000
    assert contents(copy) == contents(original)


def test_curl_fetches_twenty_files_at_once(stage: Stage, tmp_path: Path) -> None:
    generator = random.Random(1)
    sizes = [0, 1, 1000, 65_536, *(generator.randrange(2 * MB) for _ in range(16))]
    files = {f"/{number}": generator.randbytes(size) for number, size in enumerate(sizes)}
    tunnel = stage.tunnel(stage.add(HttpFiles(files)).port)
    urls = f"http://127.0.0.1:{tunnel.port()}/[0-{len(files) - 1}]"
    curl = [require("curl"), "--silent", "--show-error", "--fail", "--parallel", "--parallel-immediate"]
    run([*curl, "--parallel-max", str(len(files)), "--output", f"{tmp_path}/file-#1", urls])
    for path, body in files.items():
        assert (tmp_path / f"file-{path[1:]}").read_bytes() == body


def test_psql_asks_and_copies(stage: Stage, postgres: Postgres) -> None:
    tunnel = stage.tunnel(postgres.port)
    psql = [require("psql"), "-h", "127.0.0.1", "-p", str(tunnel.port()), "-U", "postgres", "-X", "-A", "-t", "-q"]
    assert run([*psql, "-c", "select sum(n) from generate_series(1, 1000) n"]).strip() == b"500500"
    rows = run([*psql, "-c", "copy (select n, repeat('x', 1000) from generate_series(1, 20000) n) to stdout"])
    assert len(rows.splitlines()) == 20_000
    run([*psql, "-c", "create temporary table t (n int, x text); copy t from stdin"], stdin=rows)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_pgbench_runs_without_an_error(stage: Stage, postgres: Postgres) -> None:
    tunnel = stage.tunnel(postgres.port)
    pgbench = [require("pgbench"), "-h", "127.0.0.1", "-p", str(tunnel.port()), "-U", "postgres"]
    run([*pgbench, "--initialize", "--quiet", "--scale", "2", "postgres"])
    report = run([*pgbench, "--client", "16", "--time", str(scaled(30, 10)), "postgres"], within=90).decode()
    assert "number of failed transactions: 0 " in report, report
    assert "tps = " in report, report
