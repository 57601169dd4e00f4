"""Rows of the tables that jobs of a command have written, for what is told of single pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scaling_laws.corpus.forgotten import Forgotten, host_of
from scaling_laws.corpus.links.urls import registered_domain
from scaling_laws.errors import InputError
from scaling_laws.lineage.graph import Graph
from scaling_laws.tables import open_table, read_batches

Row = dict[str, Any]


def tables(graph: Graph, command: str, columns: Iterable[str] = ()) -> Iterator[Path]:
    """Yield the tables that jobs of a command have written and that have some columns.

    Raises:
        InputError: One is missing or damaged.
    """
    wanted = set(columns)
    for path, job in graph.maker.items():
        if job.made.command == command and path.suffix == ".parquet":
            with open_table(path) as table:
                names = table.schema_arrow.names
            if wanted <= set(names):
                yield path


def rows(graph: Graph, command: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yield all rows of the tables of a command that have some columns, and of these only those.

    Raises:
        InputError: A table is missing or damaged.
    """
    for path in tables(graph, command, columns):
        for batch in read_batches(path, columns, nullable=columns):
            yield from batch.to_pylist()


def rows_with(
    graph: Graph, command: str, column: str, values: Iterable[str], columns: Sequence[str] = ()
) -> Iterator[Row]:
    """Yield the rows in the tables of a command whose column has one of some values.

    Args:
        graph: The results.
        command: The command that wrote the tables.
        column: The column.
        values: The values.
        columns: Columns that a table has to have, and that are given; absent for all but the text.

    Raises:
        InputError: A table is missing or damaged.
    """
    wanted = list(values)
    for path in tables(graph, command, columns or (column,)):
        yield from search(path, column, wanted, columns)


def search(
    path: Path, column: str, values: Iterable[str], columns: Sequence[str] = ()
) -> list[Row]:
    """Return the rows of a table whose column has one of some values; see `rows_with`."""
    wanted = pc.field(column).isin(pa.array(list(values), pa.string()))
    try:
        names = list(columns) or [name for name in pq.read_schema(path).names if name != "text"]
        found: list[Row] = pq.read_table(path, columns=names, filters=wanted).to_pylist()
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a whole Parquet file ({reason})") from None
    return found


def pages(
    graph: Graph, command: str, columns: Sequence[str], source: Forgotten
) -> Iterator[tuple[Path, Row]]:
    """Yield the rows of the pages of a source in the tables of a command, each with its table.

    Args:
        graph: The results.
        command: The command that wrote the tables.
        columns: Columns that a table has to have, and that are given, but for the text. Those
            whose names end in `url` are looked through.
        source: The pages.

    Raises:
        InputError: A table is missing or damaged.
    """
    if not source:
        return
    # Few addresses have the registered domain in them, and only those are taken apart. The host is
    # in fewer yet, but en.wikipedia.org is not in the spelling en.m.wikipedia.org.
    domains = {registered_domain(host_of(entry)) for entry in source.entries}
    pattern = "|".join(map(re.escape, sorted(domains)))
    wanted = [name for name in columns if name != "text"]
    addresses = [name for name in wanted if name.endswith("url")]
    for path in tables(graph, command, columns):
        for batch in read_batches(path, wanted, nullable=wanted):
            near = pa.array([False] * len(batch))
            for name in addresses:
                holds = pc.match_substring_regex(batch[name], pattern, ignore_case=True)
                near = pc.or_(near, pc.fill_null(holds, False))
            for row in batch.filter(near).to_pylist():
                if any(row[name] in source for name in addresses if row[name]):
                    yield path, row
