"""Tables: read with what is wrong named, written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scaling_laws.errors import InputError, cut
from scaling_laws.ledger import reading
from scaling_laws.output import atomic
from scaling_laws.progress import track

GROUP_ROWS = 1000
GROUP_CHARACTERS = 2**25

Kind = Literal["text", "remark", "names", "amount", "number"]
"""What the cells of a column hold."""
EXPECTED: dict[Kind, str] = {
    "text": "text",
    "remark": "text or nothing",
    "names": "a list of names",
    "amount": "a number of 0 or more",
    "number": "a number or nothing",
}
RUN_KINDS: dict[str, Kind] = {
    **dict.fromkeys(
        ("run", "architecture", "optimizer", "schedule", "outcome", "corpus"), "text"
    ),
    "study": "names",
    **dict.fromkeys(
        (
            "n_layer", "d_model", "n_ctx", "reuse", "N", "N_total", "D", "B", "steps", "tokens",
            "C", "C_full", "lr", "lr_sum", "dropout", "seed", "step", "position",
        ),
        "amount",
    ),
    # An LSTM has no heads, a diverged run no loss, and a batch that is one micro-batch no norm of
    # a smaller one.
    **dict.fromkeys(
        (
            "n_head", "d_ff", "test_loss", "best_test_loss", "best_step", "train_loss",
            "test_loss_se", "loss", "loss_se", "grad_sq_small", "grad_sq_big",
            "grad_tokens_small", "seconds",
        ),
        "number",
    ),
}  # fmt: skip
"""Columns of the tables of runs, curves, evaluations and positions."""
TEXT_KINDS: dict[str, dict[str, Kind]] = {
    "flow.csv": {
        "stage": "text", "unit": "text", "outcome": "text", "reason": "remark", "count": "amount",
    },
    "duplicates.csv": {"series": "text", "similarity": "amount", "value": "number"},
    "held_out.csv": {
        **dict.fromkeys(("law", "name", "form", "status"), "text"),
        **dict.fromkeys(
            ("runs", "observed", "predicted", "error", "low", "high", "held"), "number"
        ),
        "why": "remark",
    },
    "conventions.csv": {
        **dict.fromkeys(("how", "status"), "text"),
        **dict.fromkeys(("count", "flop", "why"), "remark"),
        **dict.fromkeys(("exponent", "low", "high"), "number"),
    },
    "runs.tsv": {"run": "text", "study": "text", "N": "amount", "C_full": "amount"},
}  # fmt: skip
"""Columns that others read of the tables that stages write as text, by file name."""


def open_table(path: Path, columns: Sequence[str] = ()) -> pq.ParquetFile:
    """Return a Parquet file that has `columns`, to be read in parts.

    Raises:
        InputError: When it is missing, no Parquet file, lacks a column, or has one twice.
    """
    try:
        table = pq.ParquetFile(reading(path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a Parquet file ({_first_line(error)})") from None
    found = table.schema_arrow.names
    if twice := sorted({column for column in found if found.count(column) > 1}):
        raise InputError(f"{path}: two columns are called {', '.join(twice)}")
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
    """Return a whole table of runs, curves, evaluations or positions, with at least `columns`.

    Raises:
        InputError: When it is missing, no whole Parquet file, lacks a column, or a column of
            `RUN_KINDS` does not hold what it should.
    """
    file = open_table(path, columns)
    try:
        table: pd.DataFrame = file.read().to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: damaged: {_first_line(error)}") from None
    return _checked(table, path, RUN_KINDS)


def read_text_table(path: Path, kinds: Mapping[str, Kind], *, rows: bool = True) -> pd.DataFrame:
    """Return a table of text that a stage has written: by tabs if it ends in .tsv, else by commas.

    Args:
        path: The file.
        kinds: What its columns hold; it may have others.
        rows: Whether it must have a row.

    Raises:
        InputError: When it is missing, no whole table, lacks a column or a row, or a column does
            not hold what it should.
    """
    try:
        text = reading(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no text in UTF-8 ({error.reason})") from None
    if text and not text.endswith("\n"):
        raise InputError(f"{path}: ends in the middle of a line; make it again")
    try:
        table = pd.read_csv(StringIO(text), sep="\t" if path.suffix == ".tsv" else ",")
    except ValueError as error:
        raise InputError(f"{path}: not a table ({_first_line(error)})") from None
    if missing := [name for name in kinds if name not in table]:
        found = ", ".join(map(str, table.columns))
        raise InputError(f"{path}: no column {', '.join(missing)}; found {found}")
    if rows and table.empty:
        raise InputError(f"{path}: no rows; expected at least one")
    return _checked(table, path, kinds)


def _checked(table: pd.DataFrame, path: Path, kinds: Mapping[str, Kind]) -> pd.DataFrame:
    """Return a table with its columns of numbers as such.

    Raises:
        InputError: With the first cell that is not of its column's kind.
    """
    for name in [name for name in kinds if name in table]:
        kind, column = kinds[name], table[name]
        sound = column.isna() & (kind in ("remark", "number"))
        if kind in ("amount", "number"):
            table[name] = numbers = _numbers(column)
            finite = np.isfinite(numbers) & (numbers >= 0)
            sound |= finite if kind == "amount" else numbers.notna()
        else:
            if kind == "remark":  # of which none may be there, which reads as numbers
                table[name] = column.astype(object)
            sound |= column.map(_are_names if kind == "names" else _is_text).astype(bool)
        if not sound.all():
            row = int(np.argmin(sound.to_numpy(dtype=bool)))
            raise InputError(
                f"{path}: row {row + 1}: {name} is {shown(column.iloc[row])}; "
                f"expected {EXPECTED[kind]}"
            )
    return table


def _numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as numbers, NaN where a cell is none."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column
    plain = column.map(lambda cell: cell if isinstance(cell, str | Real) else None)
    plain = plain.map(lambda cell: None if isinstance(cell, bool | np.bool) else cell)
    return pd.to_numeric(plain, errors="coerce")


def _is_text(cell: object) -> bool:
    return isinstance(cell, str)


def _are_names(cell: object) -> bool:
    return isinstance(cell, list | np.ndarray) and all(isinstance(name, str) for name in cell)


def shown(cell: object) -> str:
    """Return a cell as a message says it, on one line and not at length."""
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return "empty"
    return cut(repr(cell.item() if isinstance(cell, np.generic) else cell))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
