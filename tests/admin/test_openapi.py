"""The API does what its description says: schemathesis, as a program of its own, makes up requests from that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from hubble.admin.endpoints import ENDPOINTS
from hubble.admin.server import serve
from hubble.events import KINDS
from hubble.transport.listen import open_listener
from tests.support.crowd import populate
from tests.support.programs import require
from tests.support.tunnels import Tunnel

TOKEN = "a-token-for-schemathesis"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_schemathesis_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([beside, os.environ["PATH"]]))
    program = require("schemathesis")
    with Tunnel() as tunnel:
        listener = open_listener("127.0.0.1", 0)
        serve(tunnel.proxy, listener, TOKEN, {"listen": ":8080"}, lambda seconds: None)
        populate(tunnel.proxy, 60)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        result = subprocess.run(
            [program, "run", f"{url}/openapi.json", "--url", url, "-H", f"Authorization: Bearer {TOKEN}",
             "--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "1", "--no-color",
             "--generation-database", "none"],
            cwd=tmp_path, capture_output=True, text=True, timeout=110,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout
        described = [endpoint for endpoint in ENDPOINTS if endpoint.result is not None]
        assert f"Tested: {len(described)}" in result.stdout


def test_the_description_is_served_and_names_every_kind_of_event() -> None:
    with Tunnel(with_agents=False) as tunnel:
        listener = open_listener("127.0.0.1", 0)
        serve(tunnel.proxy, listener, TOKEN, {})
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/openapi.json"
        document = requests.get(url, timeout=10).json()
        assert document["openapi"].startswith("3.1")
        described = document["components"]["schemas"]["Event"]["anyOf"]
        assert {one["properties"]["event"]["const"] for one in described} == {kind.__name__ for kind in KINDS}
        for path, operations in document["paths"].items():
            assert requests.get(url.replace("/openapi.json", path), timeout=10).status_code == 401, operations
