"""The documents of all shards without their duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scaling_laws.corpus.dedup.batches import array, read_arrays, scratch
from scaling_laws.errors import InputError
from scaling_laws.progress import track
from scaling_laws.tables import open_table, read_batches, stream_batches

BYTES_PER_PART = 32 << 20
LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")


def dedup(documents: list[Path], *, kept: Path, output: Path) -> dict[str, object]:
    """Gather the documents that are kept, by doc_id.

    They have the columns of the shards and `held_out`. The bytes of the output depend neither on
    the number nor on the order of the shards. Documents go through parts of a folder beside the
    output, each a range of doc_id, and are sorted part by part, so memory does not grow with them
    but for 40 bytes each.

    Args:
        documents: Parquet files of extracted documents, all shards in any order.
        kept: Parquet file of the documents to keep, from `clusters`.
        output: Parquet file of the documents.

    Raises:
        InputError: When the shards have different columns, or are not those that were clustered.
    """
    facts = read_arrays([kept], ["doc_id", "held_out"])
    if not facts:
        raise InputError(f"{kept}: no document is kept, expected some")
    schema = _common_schema(documents)
    spilled = schema.append(pa.field("place", pa.int32()))
    parts = 1 + sum(map(_bytes, documents)) // BYTES_PER_PART
    with scratch(output) as folder:
        files = [folder / f"{part}.arrow" for part in range(parts)]
        for rows in _portions(_kept_rows(documents, kept, facts, spilled), spilled):
            _spill(rows, len(facts["doc_id"]), files)
        with stream_batches(output, schema) as table:
            for file in track(files, "dedup: parts", total=parts):
                rows = _read_sorted(file, spilled).drop_columns("place")
                for batch in rows.to_batches():
                    table.append(batch)
    return {"documents": table.rows, "held_out": int(facts["held_out"].sum())}


def _common_schema(documents: Sequence[Path]) -> pa.Schema:
    """Return the schema of the output, from that of all shards."""
    first, *others = [open_table(path, ["doc_id", "text"]).schema_arrow for path in documents]
    for path, schema in zip(documents[1:], others, strict=True):
        if not schema.equals(first):
            raise InputError(
                f"{path}: columns {_describe(schema)}; expected those of {documents[0]}, "
                f"{_describe(first)}"
            )
    return pa.schema([*((field.name, field.type) for field in first), ("held_out", pa.bool_())])


def _describe(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def _bytes(path: Path) -> int:
    """Return the bytes of a table before compression."""
    metadata = open_table(path).metadata
    groups = range(metadata.num_row_groups)
    return sum(metadata.row_group(group).total_byte_size for group in groups)


def _kept_rows(
    documents: Sequence[Path], kept: Path, facts: dict[str, npt.NDArray[Any]], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Yield the kept documents, each with its place among them by doc_id.

    Raises:
        InputError: When a kept document does not occur just once.
    """
    doc_id = facts["doc_id"]
    found = np.zeros(len(doc_id), bool)
    for path in documents:
        for batch in read_batches(path):
            names = array(batch["doc_id"])
            places = np.minimum(np.searchsorted(doc_id, names), len(doc_id) - 1)
            stays = doc_id[places] == names
            places = places[stays]
            for name in doc_id[places[found[places]]]:
                raise InputError(f"{path}: document {name.decode()} stood in a shard before")
            found[places] = True
            columns = batch.filter(pa.array(stays)).columns
            columns += [pa.array(facts["held_out"][places]), pa.array(places, pa.int32())]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
    for name in doc_id[~found]:
        raise InputError(f"{kept}: document {name.decode()} is in none of the shards")


def _portions(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield batches joined to tables of `BYTES_PER_PART`."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= BYTES_PER_PART:
            yield pa.Table.from_batches(held, schema)
            held, size = [], 0
    yield pa.Table.from_batches(held, schema)


def _spill(rows: pa.Table, documents: int, files: Sequence[Path]) -> None:
    """Append rows to the files of their parts."""
    part = array(rows["place"].combine_chunks()) * len(files) // documents
    order = np.argsort(part, kind="stable")
    rows = rows.take(order)
    bounds = np.searchsorted(part[order], np.arange(len(files) + 1))
    for file, start, end in zip(files, bounds, bounds[1:], strict=False):
        if start < end:
            with (
                file.open("ab") as sink,
                pa.ipc.new_stream(sink, rows.schema, options=LZ4) as stream,
            ):
                stream.write_table(rows.slice(start, end - start))


def _read_sorted(file: Path, schema: pa.Schema) -> pa.Table:
    """Return the rows of a part in the order of their places."""
    batches: list[pa.RecordBatch] = []
    if file.exists():
        with file.open("rb") as source:
            while source.tell() < file.stat().st_size:  # a stream for each time it was written to
                batches += pa.ipc.open_stream(source)
    rows = pa.Table.from_batches(batches, schema)
    return rows.take(np.argsort(array(rows["place"].combine_chunks())))
