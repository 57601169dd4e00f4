"""Which files of a folder hold a corpus: how those of each format are called."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Format = Literal["jsonl", "parquet", "text", "epub", "wikipedia", "warc", "wet"]

WITH_ADDRESSES: tuple[Format, ...] = ("warc", "wet")
"""Those of pages, each with the URL that it stood at."""

COMPRESSED = ("", ".gz", ".bz2", ".xz", ".zst")
ENDINGS: dict[Format, tuple[str, ...]] = {
    "jsonl": tuple(f"{kind}{end}" for kind in (".jsonl", ".ndjson") for end in COMPRESSED),
    "parquet": (".parquet",),
    "text": tuple(f".txt{end}" for end in COMPRESSED),
    "epub": (".epub",),
    "wikipedia": tuple(f".xml{end}" for end in COMPRESSED),
    "warc": (".warc", ".warc.gz"),
    "wet": (".wet", ".wet.gz"),
}


def texts_in(folder: Path, format: Format) -> Iterator[Path]:
    """Yield the files of a format in a folder and those below it, hidden ones left out."""
    for path in folder.rglob("*"):
        if path.name.lower().endswith(ENDINGS[format]) and path.is_file() and path.name[0] != ".":
            yield path


def none_in(format: Format) -> str:
    """Return what is said of a folder without such files."""
    return f"no file *{ENDINGS[format][0]} in it, for the format {format}"
