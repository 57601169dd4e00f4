"""Parquet tables: read with what is wrong named, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scaling_laws.errors import InputError
from scaling_laws.ledger import reading
from scaling_laws.output import atomic
from scaling_laws.progress import track

GROUP_ROWS = 1000
GROUP_CHARACTERS = 2**25


def open_table(path: Path, columns: Sequence[str] = ()) -> pq.ParquetFile:
    """Return a Parquet file that has `columns`, to be read in parts.

    Raises:
        InputError: When it is missing, no Parquet file, or lacks a column.
    """
    try:
        table = pq.ParquetFile(reading(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a Parquet file ({error})") from None
    found = table.schema_arrow.names
    if missing := [column for column in columns if column not in found]:
        raise InputError(f"{path}: no column {', '.join(missing)}; found {', '.join(found)}")
    return table


def read_batches(
    path: Path, columns: Sequence[str] = (), rows: int = GROUP_ROWS, nullable: Sequence[str] = ()
) -> Iterator[pa.RecordBatch]:
    """Yield a Parquet file at most `rows` rows at a time, with all columns if none is named.

    A reader keeps the pages of every row group that it has been asked for at once, so each row
    group is asked for on its own: no more than one is in memory.

    Raises:
        InputError: When it is missing, no whole Parquet file, or lacks a column, or a column that
            is named and not in `nullable` lacks a value.
    """
    names = list(columns) or None
    start = 0
    with open_table(path, columns) as table:
        try:
            for group in range(table.num_row_groups):
                for batch in table.iter_batches(rows, [group], names, use_threads=False):
                    for name in columns:
                        if batch[name].null_count and name not in nullable:
                            row = start + batch[name].is_null().index(True).as_py() + 1
                            raise InputError(f"{path}: row {row}: {name} is empty")
                    start += batch.num_rows
                    yield batch
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: damaged after row {start}: {error}") from None


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


class TableWriter:
    """A Parquet file that grows row by row, in row groups of a fixed number of rows.

    A row group with much text ends early. Equal rows in equal order give equal bytes, and no more
    than a row group is held in memory: as one flat list of cells, because as many tuples would
    keep the garbage collector busy.
    """

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        """Write to `writer`."""
        self._writer, self._schema = writer, schema
        self._cells: list[Any] = []
        self._full = GROUP_ROWS * len(schema)
        self._characters = 0
        self.rows = 0

    def append(self, row: Sequence[Any]) -> None:
        """Add a row, its values in the order of the schema."""
        self._cells.extend(row)
        self._characters += sum(len(cell) for cell in row if isinstance(cell, str))
        self.rows += 1
        if len(self._cells) == self._full or self._characters >= GROUP_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held as a row group."""
        if self._cells:
            width = len(self._schema)
            columns = [
                pa.array(self._cells[place::width], field.type)
                for place, field in enumerate(self._schema)
            ]
            self._cells.clear()
            self._characters = 0
            self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))


@contextmanager
def stream_table(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """Yield a writer of the Parquet file `path`, which is there when the block has succeeded."""
    with atomic(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        table = TableWriter(writer, schema)
        yield table
        table.flush()


class BatchWriter:
    """A Parquet file that grows batch by batch, in row groups of a fixed number of rows.

    Equal rows in equal order give equal bytes, however they were divided into batches.
    """

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema, rows_per_group: int) -> None:
        """Write to `writer`."""
        self._writer, self._schema, self._rows_per_group = writer, schema, rows_per_group
        self._batches: list[pa.RecordBatch] = []
        self._held = 0
        self.rows = 0

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows, with the columns of the schema in its order."""
        self._batches.append(batch)
        self._held += batch.num_rows
        self.rows += batch.num_rows
        if self._held >= self._rows_per_group:
            self._write(self._held - self._held % self._rows_per_group)

    def flush(self) -> None:
        """Write what is held as a last row group."""
        self._write(self._held)

    def _write(self, rows: int) -> None:
        """Write the first `rows` of what is held, and hold the rest."""
        held = pa.Table.from_batches(self._batches, self._schema)
        for start in range(0, rows, self._rows_per_group):
            group = held.slice(start, min(self._rows_per_group, rows - start))
            self._writer.write_table(group.combine_chunks())
        self._batches = held.slice(rows).to_batches()
        self._held -= rows


@contextmanager
def stream_batches(
    path: Path,
    schema: pa.Schema,
    rows_per_group: int = GROUP_ROWS,
    incompressible: Sequence[str] = (),
) -> Iterator[BatchWriter]:
    """Yield a writer of the Parquet file `path`, which is there when the block has succeeded.

    Args:
        path: The file.
        schema: Its columns.
        rows_per_group: Rows of all row groups but the last.
        incompressible: Columns of random numbers, which are stored as they are.
    """
    plain = set(incompressible)
    others = [name for name in schema.names if name not in plain]
    compression = {name: "NONE" if name in plain else "ZSTD" for name in schema.names}
    with (
        atomic(path) as partial,
        pq.ParquetWriter(partial, schema, compression=compression, use_dictionary=others) as writer,
    ):
        batches = BatchWriter(writer, schema, rows_per_group)
        yield batches
        batches.flush()


def concat(tables: list[Path], *, output: Path) -> None:
    """Write the rows of several tables with the same columns into one, in the order given.

    Args:
        tables: Parquet files.
        output: Parquet file of all their rows.

    Raises:
        InputError: When there is no table, one is missing, or two have other columns or types.
    """
    if not tables:
        raise InputError("concat: no tables; name one at least")
    schema = open_table(tables[0]).schema_arrow.remove_metadata()
    for path in tables:
        require_schema(open_table(path).schema_arrow, schema, path)
    with stream_batches(output, schema) as rows:
        for path in track(tables, "concat: tables", len(tables)):
            for batch in read_batches(path):
                rows.append(batch)


def require_schema(found: pa.Schema, expected: pa.Schema, path: Path) -> None:
    """Check that a table has the columns and types that are expected.

    Raises:
        InputError: When it has others.
    """
    if not found.equals(expected):
        one, other = (
            ", ".join(f"{field.name} ({field.type})" for field in schema)
            for schema in (found, expected)
        )
        raise InputError(f"{path}: found the columns {one}; expected {other}")
