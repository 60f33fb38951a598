"""docs/contributing.md names files that exist, at most four for each kind of addition, and the rest follows."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from hubble.admin.endpoints import SCHEMAS
from hubble.base.facts import PublicFacts
from hubble.events import KINDS
from hubble.options.proxy import PROXY
from hubble.policy import ConnectionRequest
from hubble.policy.lua.policy import LUA_NAMES
from hubble.proxy.gateways.limits import AbuseLimits
from tests.support.tunnels import Tunnel

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "contributing.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in PAGE.split("\n## ")[1:]}


def test_twelve_additions_are_described() -> None:
    assert len(SECTIONS) == 12


@pytest.mark.parametrize("title", SECTIONS)
def test_an_addition_touches_at_most_four_files(title: str) -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", SECTIONS[title], re.MULTILINE)
    assert 1 <= len(rows) <= 4
    for name in rows:
        path = ROOT / name
        assert path.parent.is_dir() if path.stem == "NEW" else path.is_file(), name


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(PublicFacts)])
def test_a_fact_of_a_session_is_everywhere(name: str) -> None:
    assert name in SCHEMAS["Session"]["properties"]
    assert hasattr(ConnectionRequest(), name)
    session_events = [kind for kind in KINDS if issubclass(kind, PublicFacts)]
    assert len(session_events) == 5
    assert all(name in {field.name for field in dataclasses.fields(kind)} for kind in session_events)
    assert f"`request:{LUA_NAMES.get(name, name)}()`" in (ROOT / "docs" / "policy.md").read_text()


def test_each_limit_has_an_option() -> None:
    options = {option.name.replace("-", "_") for group in PROXY for option in group.options}
    assert {field.metadata["option"] for field in dataclasses.fields(AbuseLimits)} <= options


def test_each_metric_of_the_proxy_is_documented() -> None:
    with Tunnel(with_agents=False) as tunnel:
        families = tunnel.proxy.watch.metrics.export()
    names = {
        name + ("_total" if kind == "counter" else "") for name, _, kind, _ in families if name.startswith("hubble_")
    }
    page = (ROOT / "docs" / "metrics.md").read_text().split("## The agent")[0]
    assert names == set(re.findall(r"`(hubble_\w+?)(?:\{[\w,]+\})?`", page)) and len(names) > 15


@pytest.mark.parametrize("package", sorted((ROOT / "hubble").rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_a_package_s_docstring_is_its_map(package: Path) -> None:
    if package.parent.name != "hubble":
        text = ast.get_docstring(ast.parse(package.read_text())) or ""
        modules = {path.stem for path in package.parent.glob("*.py")} - {"__init__"}
        assert {name for name in modules if not re.search(rf"\b{name}\b", text)} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "hubble").rglob("*.py")), ids=lambda path: path.stem)
def test_modules_and_functions_fit_in_the_eye(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None and node.end_lineno - node.lineno < 40, node.name
