"""The version of this release (Semantic Versioning)."""

__version__ = "1.0.0rc1"
