"""What this process has read and written: the raw material of a job's manifest.

Stages name the files that they read where they open them, and every file that is written goes
through `output.atomic`. So a manifest tells what a job did, not what it was expected to do.
"""

from __future__ import annotations

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
            parts = (part for part in path.rglob("[!.]*") if part.is_file())
            found |= dict.fromkeys(sorted(parts))
        elif path.is_file():
            found[path] = None
    return list(found)
