"""What pyproject.toml cannot say: the README as package indexes show it. Everything else is described there."""

import re
from pathlib import Path

from setuptools import setup

RELATIVE_IMAGE = re.compile(r"!\[[^]]*\]\((?![a-z]+:)[^)]*\)\n?")
RELATIVE_LINK = re.compile(r"\[([^]]+)\]\((?![a-z]+:)[^)]*\)")


def readme() -> str:
    """The README without images and links into the repository: package indexes have none."""
    text = (Path(__file__).resolve().parent / "README.md").read_text(encoding="utf-8")
    return RELATIVE_LINK.sub(r"\1", RELATIVE_IMAGE.sub("", text))


setup(long_description=readme(), long_description_content_type="text/markdown")
