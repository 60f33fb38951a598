"""The distribution is called hubble-tunnel: `pip install hubble` would install somebody else's package."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALLS = re.compile(
    r"(?:pip|pipx|uv)(?: tool)?(?: pip)? install(?: -[\w-]+)*\s+['\"]?(hubble(?:\[[\w,]*\])?)(?![\w-])"
)
TEXTS = {".py", ".md", ".toml", ".txt", ".js", ".html", ".yml", ".lua", ".conf", ".cfg", ""}


def test_every_mention_names_the_right_distribution() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    wrong = [
        f"{name}: {found.group(0)}"
        for name in files
        if name and Path(name).suffix in TEXTS and not name.endswith("test_mentions.py")
        for found in INSTALLS.finditer((ROOT / name).read_text(encoding="utf-8", errors="replace"))
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("pip install 'hubble[ntlm]'", True),
        ("pip install hubble", True),
        ("pipx install --force hubble", True),
        ("pip install hubble-tunnel", False),
        ("pip install 'hubble-tunnel[ntlm]'", False),
        ("pip install .", False),
    ],
)
def test_what_counts_as_a_mention(text: str, matches: bool) -> None:
    assert bool(INSTALLS.search(text)) is matches
