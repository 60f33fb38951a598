"""Settings of the documentation, which `make docs` builds. A broken link fails the build."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hubble.base.version import __version__

project = "Hubble"
author = "The Hubble authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "TCP tunnels that survive the loss of their links", "page_width": "1100px"}
html_static_path: list[str] = []

myst_heading_anchors = 3
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
nitpicky = False
suppress_warnings = ["misc.highlighting_failure"]
