"""Files that are either whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL
from glob import escape
from pathlib import Path

from scaling_laws.errors import InputError
from scaling_laws.ledger import has_read, place, written


@contextmanager
def atomic(path: Path, *, renews: bool = False) -> Iterator[Path]:
    """Yield a path beside `path` to write to, and rename it to `path` when the block succeeds.

    A killed process leaves at most the file beside it, named after the process, which the next
    attempt removes. The suffix is kept, because some writers choose a format by it.

    Args:
        path: The file.
        renews: Whether it may take the place of a file that this process has read.

    Raises:
        InputError: It would take the place of such a file otherwise.
    """
    named = path
    if not renews:
        _spare_input(named)
    if path.is_symlink():
        path = path.resolve()  # the file that is meant, not the link to it
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(EINVAL, "not a file that can be written whole, such as a device", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_partial(path)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        if not renews:  # it may have been read since
            _spare_input(named)
        partial.replace(path)
        written(named)
    finally:
        partial.unlink(missing_ok=True)


def remove_partial(path: Path) -> None:
    """Remove what killed processes have written of a file."""
    for left in path.parent.glob(f".partial-*-{escape(path.name)}"):
        if not _runs(int(left.name.split("-")[1])):
            left.unlink(missing_ok=True)


def _spare_input(path: Path) -> None:
    """Refuse an output that is an input."""
    if has_read(place(path)):
        raise InputError(
            f"{path}: found an input of this command, expected a name for its output; it is left "
            "as it was"
        )


def _runs(process: int) -> bool:
    """Tell whether there is a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
