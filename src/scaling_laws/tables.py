"""Parquet tables: read with what is wrong named, written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scaling_laws.errors import InputError
from scaling_laws.output import atomic


def open_table(path: Path, columns: Sequence[str] = ()) -> pq.ParquetFile:
    """Return a Parquet file that has `columns`, to be read in parts.

    Raises:
        InputError: When it is missing, no Parquet file, or lacks a column.
    """
    try:
        table = pq.ParquetFile(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a Parquet file ({error})") from None
    found = table.schema_arrow.names
    if missing := [column for column in columns if column not in found]:
        raise InputError(f"{path}: no column {', '.join(missing)}; found {', '.join(found)}")
    return table


def read_table(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Return a whole Parquet file that has at least `columns`.

    Raises:
        InputError: When it is missing, no Parquet file, or lacks a column.
    """
    table: pd.DataFrame = open_table(path, columns).read().to_pandas()
    return table


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write `table` to `path` as Parquet, compressed with zstd, without the index."""
    with atomic(path) as partial:
        table.to_parquet(partial, compression="zstd", index=False)
