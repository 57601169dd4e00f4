"""What this process has read and written: the raw material of a job's manifest.

Stages name the files that they read where they open them, and every file that is written goes
through `output.atomic`. So a manifest tells what a job did, not what it was expected to do.
"""

from __future__ import annotations

from os.path import abspath
from pathlib import Path

# Absolute paths, in the order of their first mention; links are not followed, because a path
# names a file's place in the results, wherever its content lies.
_read: dict[Path, None] = {}
_written: dict[Path, None] = {}


def reading(path: Path) -> Path:
    """Note that a file, or every file in a folder, is read, and return its path."""
    _read[Path(abspath(path))] = None  # noqa: PTH100
    return path


def written(path: Path) -> None:
    """Note that a file has been written."""
    _written[Path(abspath(path))] = None  # noqa: PTH100


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
