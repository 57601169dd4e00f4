"""A crawl's own record of what is finished, from which a killed one continues."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson
import pyarrow as pa

from scaling_laws.corpus.crawl.warc import about_record
from scaling_laws.errors import InputError
from scaling_laws.output import atomic
from scaling_laws.tables import stream_table

log = logging.getLogger(__name__)

FORMAT = 1
"""Of the journal; one that is older is not continued."""

OUTCOMES = pa.schema(
    {
        "url_id": pa.string(),
        "url": pa.string(),
        "final_url": pa.string(),
        "outcome": pa.string(),
        "detail": pa.string(),
        "status": pa.int16(),
        "content_type": pa.string(),
        "bytes": pa.int64(),
        "attempts": pa.int16(),
        "fetched_at": pa.timestamp("us", tz="UTC"),
        "seconds": pa.float64(),
    }
)


class Row(NamedTuple):
    """What became of a link; the columns of the table of outcomes."""

    url_id: str
    url: str
    final_url: str
    outcome: str
    detail: str | None
    status: int | None
    content_type: str | None
    bytes: int
    attempts: int
    fetched_at: datetime
    seconds: float


class Journal:
    """Two files: the WARC records of the pages so far, and a line for each finished link.

    A record is written before the line that tells where it stands, so that a line is as good as
    the whole. Both are with the operating system before the next link: killing the process loses
    nothing that is finished.
    """

    def __init__(self, lines: BinaryIO, records: BinaryIO, settings: dict[str, Any]) -> None:
        """Continue the journal if it was made with the same settings, or begin it anew.

        Args:
            lines: The file of lines, to read and write.
            records: The file of records, the same.
            settings: Those that outcomes depend on, as plain data.
        """
        self._lines, self._records = lines, records
        head = {"format": FORMAT, "settings": settings}
        found = _values(lines.readline())
        if isinstance(found, dict) and {name: found.get(name) for name in head} == head:
            self.about = found["about"]
            if self._whole():
                return
        if found is not None:
            log.info("crawl: what an earlier crawl left is of other settings or damaged; dropped")
        about = about_record(settings["user_agent"], datetime.now(UTC))
        line = orjson.dumps(head | {"about": len(about)}) + b"\n"
        self.about = self._end = len(about)
        self._place = len(line)
        for file, data in ((records, about), (lines, line)):
            file.seek(0)
            file.truncate()
            file.write(data)
            file.flush()

    def add(self, row: Row, record: bytes = b"") -> int:
        """Keep the outcome of a link and its page's record; return the place of its line."""
        if record:
            self._records.write(record)
            self._records.flush()
        line = orjson.dumps([*row, self._end, len(record)]) + b"\n"
        self._lines.write(line)
        self._lines.flush()
        place = self._place
        self._place += len(line)
        self._end += len(record)
        return place

    def finished(self) -> Iterator[tuple[int, Row]]:
        """Yield the place of each line and the link that is finished."""
        self._lines.seek(0)
        place = len(self._lines.readline())
        for line in self._lines:
            *values, _, _ = orjson.loads(line)
            yield place, Row(*values)
            place += len(line)

    def read(self, place: int) -> tuple[Row, bytes]:
        """Return the outcome of a link, by the place of its line, and its page's record."""
        self._lines.seek(place)
        *values, offset, length = orjson.loads(self._lines.readline())
        row = Row(*values)
        self._records.seek(offset)
        record = self._records.read(length)
        return row._replace(fetched_at=datetime.fromisoformat(values[9])), record

    def about_record(self) -> bytes:
        """Return the record that begins the WARC file."""
        self._records.seek(0)
        return self._records.read(self.about)

    def _whole(self) -> bool:
        """Cut both files after the last link that is whole in both; False if there is no start."""
        size = self._records.seek(0, 2)
        self._end = self.about
        self._lines.seek(0)
        self._place = len(self._lines.readline())
        for line in self._lines:
            values = _values(line)
            if values is None or self._end + values[-1] > size:
                break
            self._end += values[-1]
            self._place += len(line)
        if size < self.about:
            return False
        for file, end in ((self._lines, self._place), (self._records, self._end)):
            file.seek(end)
            file.truncate()
        return True


@contextmanager
def open_journal(warc: Path, settings: dict[str, Any]) -> Iterator[Journal]:
    """Yield the journal of a crawl, beside its WARC file, and remove it when the block succeeds.

    Raises:
        InputError: When another crawl has it open.
    """
    warc.parent.mkdir(parents=True, exist_ok=True)
    lines = warc.with_name(f".{warc.name}.journal")
    records = warc.with_name(f".{warc.name}.journal.warc")
    with _open(lines) as lines_file, _open(records) as records_file:
        try:
            fcntl.flock(lines_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{warc}: another crawl is at work on it") from None
        yield Journal(lines_file, records_file, settings)
        records.unlink()
        lines.unlink()


def write_outputs(
    journal: Journal, places: Iterable[int], warc: Path, outcomes: Path
) -> Iterator[Row]:
    """Write the WARC file and the outcomes from the journal, and yield the outcomes.

    Args:
        journal: Has every link.
        places: Of the lines, in the order of the outputs.
        warc: WARC file to write.
        outcomes: Parquet file to write.
    """
    with (
        stream_table(outcomes, OUTCOMES) as table,
        atomic(warc) as partial,
        partial.open("wb") as file,
    ):
        file.write(journal.about_record())
        for place in places:
            row, record = journal.read(place)
            table.append(row)
            file.write(record)
            yield row


def _open(path: Path) -> BinaryIO:
    path.touch()
    return path.open("r+b")


def _values(line: bytes) -> Any:
    """Return the data of a line, None if it is torn."""
    try:
        return orjson.loads(line) if line.endswith(b"\n") else None
    except orjson.JSONDecodeError:
        return None
