"""Directories of files that programs copy, made and compared."""

from __future__ import annotations

import random
from pathlib import Path


def make_tree(directory: Path, files: int, largest: int, seed: int = 1) -> None:
    """`files` files of up to `largest` random bytes, spread over directories; one of them is empty."""
    generator = random.Random(seed)
    for number in range(files):
        path = directory / f"{number % 23}" / f"{number % 7}" / f"file-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(generator.randbytes(generator.randrange(1, largest) if number else 0))


def contents(directory: Path) -> dict[str, bytes]:
    """Every file's bytes, by its path below `directory`."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
