"""What this process has read and written: the raw material of a job's manifest.

Stages name the files that they read where they open them, and every file that is written goes
through `output.atomic`. So a manifest tells what a job did, not what it was expected to do.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from os.path import normpath
from pathlib import Path

# By place, in the order of their first mention.
_read: dict[Path, None] = {}
_written: dict[Path, None] = {}


def place(path: Path) -> Path:
    """Return a path as absolute and without dots.

    Links are not followed: a path names a file's place in the results, wherever its content lies.
    """
    return Path(normpath(path.absolute()))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and those below it, also in folders that are links.

    A link to a folder that it lies in is not followed.
    """
    for name, folders, files in os.walk(folder, followlinks=True):
        here = Path(name)
        folders[:] = sorted(
            each
            for each in folders
            if not (here / each).is_symlink()
            or not here.resolve().is_relative_to((here / each).resolve())
        )
        yield from (here / each for each in sorted(files) if (here / each).is_file())


def reading(path: Path) -> Path:
    """Note that a file, or every file in a folder, is read, and return its path."""
    _read[place(path)] = None
    return path


def written(path: Path) -> None:
    """Note that a file has been written."""
    _written[place(path)] = None


def has_read(path: Path) -> bool:
    """Tell whether a file, under whatever name, is one that this process read and did not write."""
    if path in _written or not path.is_file():
        return False
    there = path.resolve()
    read = {each.resolve() for each in _read if each not in _written}
    return not read.isdisjoint((there, *there.parents))


def files_read() -> list[Path]:
    """Return the files read that are there and that this process has not itself written."""
    return [path for path in _files(_read) if path not in _written]


def files_written() -> list[Path]:
    """Return the files written that are still there."""
    return _files(_written)


def clear() -> None:
    """Forget all, as before a further command in the same process."""
    _read.clear()
    _written.clear()


def _files(paths: dict[Path, None]) -> list[Path]:
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            # Hidden files in it are others': Snakemake leaves one in a folder that is an output.
            found |= dict.fromkeys(part for part in files_below(path) if part.name[0] != ".")
        elif path.is_file():
            found[path] = None
    return list(found)
