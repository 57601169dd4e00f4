"""Tables too large for Python objects: their columns as arrays, and a place for what spills."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scaling_laws.tables import open_table, read_batches


def read_arrays(
    paths: Sequence[Path], columns: Sequence[str], rows: int = 1 << 14
) -> dict[str, npt.NDArray[Any]]:
    """Return columns of several Parquet files, one file below another, as by `array`.

    Raises:
        InputError: When a file is missing, no Parquet file, lacks a column or a value.
    """
    total = sum(open_table(path, columns).metadata.num_rows for path in paths)
    arrays: dict[str, npt.NDArray[Any]] = {}
    start = 0
    for path in paths:
        for batch in read_batches(path, columns, rows):
            for name in columns:
                part = array(batch[name])
                if name not in arrays:
                    arrays[name] = np.empty((total, *part.shape[1:]), part.dtype)
                elif part.dtype.kind == "S" and part.dtype > arrays[name].dtype:
                    arrays[name] = arrays[name].astype(part.dtype)
                arrays[name][start : start + len(part)] = part
            start += batch.num_rows
    return arrays


def array(column: pa.Array) -> npt.NDArray[Any]:
    """Return an Arrow column as NumPy's.

    Strings become their UTF-8 in bytes of a fixed length, which sort alike; 16 bytes become two
    64-bit numbers, which sort alike too.
    """
    if pa.types.is_fixed_size_binary(column.type):
        data = np.frombuffer(column.buffers()[1], ">u8").reshape(-1, 2)
        return data[column.offset : column.offset + len(column)].astype(np.uint64)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return np.array(column.cast(pa.large_binary()).to_pylist(), np.bytes_)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def utf8(column: pa.Array) -> list[memoryview]:
    """Return views of the texts of a column in UTF-8, which take no copy of them."""
    column = column.cast(pa.large_binary())
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset :][: len(column) + 1].tolist()
    view = memoryview(data or b"")
    return [view[start:end] for start, end in pairwise(bounds)]


def strings(names: npt.NDArray[np.bytes_]) -> pa.Array:
    """Return the Arrow column of strings that `array` made into bytes."""
    return pa.array(names.tolist(), pa.binary()).cast(pa.string())


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside the output `path`, for what does not fit in memory.

    It is removed afterwards; that of a killed process is removed by the next attempt.
    """
    folder = path.with_name(f".scratch-{path.name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
