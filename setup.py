"""Packaging of Hubble. The tools' settings are in pyproject.toml, the tested versions in requirements.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def version() -> str:
    """`__version__` read as text: importing `hubble` here would need its dependencies."""
    text = (ROOT / "hubble" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__(?:: \w+)? = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('hubble/__init__.py has no line __version__ = "..."')
    return found.group(1)


def long_description() -> str:
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="hubble-tunnel",
    version=version(),
    description="TCP tunnels through one public proxy, over WebSockets, that survive the loss of their links",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    author="The Hubble authors",
    license="MIT",
    packages=find_packages(include=["hubble", "hubble.*"]),
    package_data={"hubble": ["py.typed"], "hubble.policy.lua": ["*.lua"], "hubble.admin.dashboard": ["*"]},
    include_package_data=True,
    python_requires=">=3.11",
    install_requires=[
        "gevent>=24.2",
        "gevent-websocket>=0.10.1,<0.11",
        "websockets>=13,<18",
        "lupa>=2.2,<3",
        "requests>=2.31,<3",
        "msgpack>=1.0.5,<2",
        "prometheus-client>=0.20,<1",
        "urllib3>=2.6,<3",
    ],
    extras_require={
        "cluster": ["redis>=5,<9"],
        "ntlm": ["pyspnego>=0.10,<1"],
        "dev": [
            "pytest>=8",
            "pytest-timeout>=2.3",
            "hypothesis>=6.100",
            "ruff>=0.6",
            "mypy>=1.10",
            "import-linter>=2.1",
            "trustme>=1.1",
            "types-requests",
        ],
    },
    entry_points={
        "console_scripts": [
            "hubble-proxy = hubble.cli.scripts:proxy",
            "hubble-agent = hubble.cli.scripts:agent",
        ],
    },
    classifiers=[
        "Environment :: Console",
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: Internet :: Proxy Servers",
        "Typing :: Typed",
    ],
)
