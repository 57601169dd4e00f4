"""Files that are either whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to, and rename it to `path` when the block succeeds.

    A killed process leaves at most the file beside it, which the next attempt overwrites. The
    suffix is kept, because some writers choose a format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write `table` to `path` as Parquet, compressed with zstd, without the index."""
    with atomic(path) as partial:
        table.to_parquet(partial, compression="zstd", index=False)
