"""Pages that were crawled before: archives, indexed by page, answer for the web."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from scaling_laws.corpus.crawl.content import is_html
from scaling_laws.corpus.crawl.warc import (
    Record,
    Response,
    parse_response,
    read_record_at,
    read_records,
    target,
)
from scaling_laws.corpus.links.urls import identity, normalise, url_id
from scaling_laws.errors import InputError
from scaling_laws.ledger import reading
from scaling_laws.progress import track
from scaling_laws.tables import GROUP_ROWS, read_batches, stream_table

INDEX = pa.schema(
    {
        "page": pa.string(),
        "url": pa.string(),
        "offset": pa.int64(),
        "length": pa.int64(),
        "date": pa.timestamp("us", tz="UTC"),
        "archive": pa.string(),
        "archive_bytes": pa.int64(),
    }
)


class Archived(NamedTuple):
    """Where a page stands in an archive; the columns of an index."""

    page: str
    url: str
    offset: int
    length: int
    date: datetime
    archive: str
    archive_bytes: int


def index_archive(warc: Path, *, output: Path) -> dict[str, object]:
    """Index the pages of a WARC file, so that a crawl can take them from there.

    A page is a response with status 200 and an HTML content type. It is named as links are, by
    its address, or by `X-Url-Id` if its record has one.

    Args:
        warc: WARC file, plain or compressed record by record, of this project or another crawl,
            such as Common Crawl's.
        output: Parquet file of the pages: name, address, place of the record, date, and path and
            size of the archive.

    Raises:
        InputError: When the file is no WARC file, is cut off or is compressed as a whole.
    """
    records = pages = 0
    archive = warc.absolute()
    with stream_table(output, INDEX) as table:
        for record in track(read_records(warc, "response"), "index-archive: responses"):
            records += 1
            if record.length == 0:
                raise InputError(
                    f"{warc}: the record at byte {record.offset} has no gzip member of its own; "
                    "expected a file that is compressed record by record"
                )
            page = _page(record)
            if page is not None:
                pages += 1
                place = (record.offset, record.length, _date(record, warc))
                table.append((page, target(record), *place, str(archive), archive.stat().st_size))
    return {"responses": records, "pages": pages}


def find_archived(indexes: Sequence[Path], pages: pa.Array) -> list[tuple[int, Archived]]:
    """Return which of `pages` the archives have, by place in `pages`, and the latest of each.

    Args:
        indexes: Tables of `index_archive`.
        pages: Names of pages.

    Raises:
        InputError: When an index cannot be used, or an archive is not what was indexed.
    """
    found: dict[int, Archived] = {}
    sizes: dict[str, int] = {}
    for index in indexes:
        for batch in read_batches(index, INDEX.names, GROUP_ROWS):
            files = pa.Table.from_batches([batch]).group_by(["archive", "archive_bytes"])
            for file in files.aggregate([]).to_pylist():
                _check_size(index, file["archive"], file["archive_bytes"], sizes)
            places = pc.index_in(batch["page"], value_set=pages)
            hits = pc.is_valid(places)
            rows = batch.filter(hits).to_pylist()
            for place, row in zip(places.filter(hits).to_pylist(), rows, strict=True):
                entry = Archived(**row)
                if place not in found or found[place].date < entry.date:
                    found[place] = entry
    return sorted(found.items(), key=lambda item: (item[1].archive, item[1].offset))


def read_archived(
    entries: Sequence[tuple[int, Archived]],
) -> Iterator[tuple[int, Archived, Response]]:
    """Yield archived pages, archive by archive in the order of `entries`.

    Raises:
        InputError: When a record is not where the index says.
    """
    for archive, group in groupby(entries, key=lambda entry: entry[1].archive):
        with reading(Path(archive)).open("rb") as file:
            for place, entry in group:
                try:
                    record = read_record_at(file, entry.offset, entry.length)
                    response = parse_response(record.block)
                except ValueError as error:
                    raise InputError(
                        f"{archive}: byte {entry.offset}: {error}; index the archive anew"
                    ) from None
                yield place, entry, response


def _page(record: Record) -> str | None:
    """Return the name of the page in a record, None if it has none."""
    try:
        response = parse_response(record.block)
        if response.status != 200 or not is_html(response.header("content-type")):
            return None
        return record.headers.get("x-url-id") or url_id(identity(normalise(target(record))))
    except ValueError:  # no HTTP, or no web address
        return None


def _date(record: Record, warc: Path) -> datetime:
    text = record.headers.get("warc-date", "")
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{warc}: the record at byte {record.offset}: found WARC-Date {text!r}, expected "
            "such as 2020-01-31T12:00:00Z"
        ) from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _check_size(index: Path, archive: str, size: int, seen: dict[str, int]) -> None:
    """Look whether an archive is still there and as large as it was."""
    if archive not in seen:
        try:
            seen[archive] = Path(archive).stat().st_size
        except OSError:
            raise InputError(f"{index}: its archive {archive} is missing") from None
    if seen[archive] != size:
        raise InputError(
            f"{index}: its archive {archive} has {seen[archive]} bytes, expected {size}; "
            "index it anew with: scaling-laws index-archive"
        )
