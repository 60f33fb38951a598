"""The sdist and the wheel: what they hold, and that they work where nothing else of the repository is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from hubble import __version__

ROOT = Path(__file__).resolve().parents[2]
TOP = f"hubble_tunnel-{__version__}"

pytestmark = pytest.mark.slow


def run(*command: str | Path, where: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(*options: str, source: Path, to: Path) -> Path:
    run(sys.executable, "-m", "build", "--quiet", *options, "--outdir", to, source, where=to)
    (made,) = to.iterdir()
    return made


def committed() -> Sequence[str]:
    return run("git", "ls-files", where=ROOT).splitlines()


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    source = tmp_path_factory.mktemp("source")
    run("git", "clone", "--quiet", "--depth=1", f"file://{ROOT}", source / "hubble", where=source)
    archive = build("--sdist", source=source / "hubble", to=tmp_path_factory.mktemp("sdist"))
    place = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(archive) as files:
        files.extractall(place, filter="data")
    return place / TOP


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the sdist, as package managers do."""
    return build("--wheel", source=sdist, to=tmp_path_factory.mktemp("wheel"))


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
class TestDistributions:
    def test_the_sdist_holds_documents_tests_examples_and_benchmarks(self, sdist: Path) -> None:
        wanted = [
            name for name in committed() if name.startswith(("docs/", "tests/", "examples/", "benchmarks/", "hubble/"))
        ]
        absent = [name for name in wanted if not (sdist / name).exists()]
        assert not absent

    def test_tests_run_from_the_sdist(self, sdist: Path) -> None:
        out = run(sys.executable, "-m", "pytest", "-p", "gevent", "-q", "tests/agent/test_rules.py", where=sdist)
        assert " passed" in out

    def test_the_wheel_holds_the_package_and_what_it_reads(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as files:
            names = files.namelist()
        assert "hubble/policy/lua/sandbox.lua" in names
        assert "hubble/admin/dashboard/index.html" in names
        assert "hubble/py.typed" in names
        assert not [name for name in names if name.startswith(("tests/", "docs/"))]

    def test_links_of_the_description_work_where_packages_are_shown(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as files:
            (metadata,) = (name for name in files.namelist() if name.endswith("METADATA"))
            text = files.read(metadata).decode()
        assert f"Version: {__version__}" in text
        assert "# Hubble" in text
        targets = re.findall(r"\]\(([^)]+)\)", text)
        assert [target for target in targets if not target.startswith("https://")] == []
