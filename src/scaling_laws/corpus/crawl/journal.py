"""A crawl's own record of what is finished, from which a killed one and a later one continue."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO, NamedTuple

import orjson
import pyarrow as pa

from scaling_laws.corpus.crawl.warc import about_record
from scaling_laws.corpus.forgotten import Forgotten
from scaling_laws.errors import InputError
from scaling_laws.output import atomic, remove_partial
from scaling_laws.tables import stream_table

log = logging.getLogger(__name__)

FORMAT = 2
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
    """A line for each link that is finished, and the WARC records of the pages.

    A record is written before the line that tells where it stands, so that a line is as good as
    the whole. Both are with the operating system before the next link: killing the process loses
    nothing that is finished.

    A crawl that ends leaves a journal of its pages, from which a later one continues. It has their
    records by a hard link to the WARC file, which takes no space and stays when that file is
    removed. Pages of links that have gone are kept too: links come back. Not so pages that are
    forgotten, whether they stood at the address of their link or at the end of its redirects.
    """

    def __init__(
        self, path: Path, lines: BinaryIO, settings: dict[str, Any], forgotten: Forgotten
    ) -> None:
        """Continue the journal if it was made with the same settings, or begin it anew.

        Args:
            path: Where the lines are; the records are beside them.
            lines: The file of lines, to read and write.
            settings: Those that outcomes depend on, as plain data.
            forgotten: Pages that are no longer kept.
        """
        self._path, self._lines, self._forgotten = path, lines, forgotten
        self._head = {"format": FORMAT, "settings": settings}
        found = _values(lines.readline())
        if isinstance(found, dict) and {name: found.get(name) for name in self._head} == self._head:
            self._about, self._linked, self._own = found["about"], found["linked"], found["own"]
            if self._open_records() and self._whole():
                return
        if found is not None:
            log.info("crawl: what an earlier crawl left is of other settings or damaged; dropped")
        about = about_record(settings["user_agent"], datetime.now(UTC))
        self._about, self._linked, self._own = len(about), None, self._new_name()
        lines.seek(0)
        lines.truncate()
        self._beside(self._own).write_bytes(about)
        self._open_records()
        self._place = lines.write(self._first_line(self._linked, self._own))
        self._end = self._own_records.seek(0, 2)
        lines.flush()

    def add(self, row: Row, record: bytes = b"") -> int:
        """Keep the outcome of a link and its page's record; return the place of its line."""
        if record:
            self._own_records.write(record)
            self._own_records.flush()
        line = _line(row, False, self._end, len(record))
        self._lines.write(line)
        self._lines.flush()
        place = self._place
        self._place += len(line)
        self._end += len(record)
        return place

    def finished(self) -> Iterator[tuple[int, Row]]:
        """Yield the place of each line and the link that is finished, unless it is forgotten."""
        self._lines.seek(0)
        place = len(self._lines.readline())
        for line in self._lines:
            *values, _, _, _ = orjson.loads(line)
            row = Row(*values)
            if row.outcome != "ok" or not (
                row.url in self._forgotten or row.final_url in self._forgotten
            ):
                yield place, row
            place += len(line)

    def read(self, place: int) -> tuple[Row, bytes]:
        """Return the outcome of a link, by the place of its line, and its page's record."""
        self._lines.seek(place)
        *values, linked, offset, length = orjson.loads(self._lines.readline())
        row = Row(*values)
        records = self._linked_records if linked else self._own_records
        records.seek(offset)
        record = records.read(length)
        return row._replace(fetched_at=datetime.fromisoformat(values[9])), record

    def about_record(self) -> bytes:
        """Return the record that begins the WARC file."""
        self._linked_records.seek(0)
        return self._linked_records.read(self._about)

    @contextmanager
    def successor(self, warc: Path, places: Iterable[int]) -> Iterator[BinaryIO]:
        """Yield the lines of a new journal, which are to be those of the pages in `warc`.

        It takes the place of this one when the block has succeeded.

        Args:
            warc: WARC file that is there at the end of the block.
            places: Of the lines whose pages it has; the journal keeps all others itself.
        """
        linked, own, wanted = self._new_name(), self._new_name(), set(places)
        with atomic(self._path) as partial, partial.open("wb") as lines:
            lines.write(self._first_line(linked, own))
            yield lines
            try:
                self._beside(linked).hardlink_to(warc)
            except OSError as error:
                log.warning("crawl: %s; a later crawl will fetch all pages again", error)
            others = [
                place
                for place, row in self.finished()
                if row.outcome == "ok" and place not in wanted
            ]
            with self._beside(own).open("wb") as records:
                for place in others:
                    row, record = self.read(place)
                    lines.write(_line(row, False, records.tell(), len(record)))
                    records.write(record)
        self._linked, self._own = linked, own

    def remove_others(self) -> None:
        """Remove records that another journal had."""
        for path in self._path.parent.glob(f"{escape(self._path.name)}.*"):
            if path.name not in (self._linked, self._own):
                path.unlink()

    def close(self) -> None:
        """Close the records."""
        self._own_records.close()
        self._linked_records.close()

    def _new_name(self) -> str:
        return f"{self._path.name}.{token_hex(4)}.warc"

    def _beside(self, name: str) -> Path:
        return self._path.with_name(name)

    def _first_line(self, linked: str | None, own: str) -> bytes:
        places = {"about": self._about, "linked": linked, "own": own}
        return orjson.dumps(self._head | places) + b"\n"

    def _open_records(self) -> bool:
        """Open the records; False if a file is missing."""
        try:
            self._own_records: BinaryIO = self._beside(self._own).open("r+b")
            self._linked_records: BinaryIO = self._beside(self._linked or self._own).open("rb")
        except FileNotFoundError:
            return False
        return True

    def _whole(self) -> bool:
        """Cut off what is not whole; False if that is what another journal left."""
        ends = {False: self._own_records.seek(0, 2), True: self._linked_records.seek(0, 2)}
        if ends[True] < self._about:
            return False
        self._end = 0 if self._linked else self._about
        self._lines.seek(0)
        self._place = len(self._lines.readline())
        for line in self._lines:
            values = _values(line)
            if values is None:
                break
            linked, offset, length = values[-3:]
            if offset + length > ends[linked]:
                if linked:
                    return False
                break
            self._end += 0 if linked else length
            self._place += len(line)
        for file, end in ((self._lines, self._place), (self._own_records, self._end)):
            file.seek(end)
            file.truncate()
        return True


@contextmanager
def open_journal(warc: Path, settings: dict[str, Any], forgotten: Forgotten) -> Iterator[Journal]:
    """Yield the journal of a crawl, in hidden files beside its WARC file.

    Args:
        warc: The WARC file.
        settings: Those that outcomes depend on, as plain data.
        forgotten: Pages that are no longer kept.

    Raises:
        InputError: When another crawl has it open.
    """
    warc.parent.mkdir(parents=True, exist_ok=True)
    path = warc.with_name(f".{warc.name}.journal")
    path.touch()
    with path.open("r+b") as lines:
        try:
            fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(lines.fileno()), path.stat()):
                raise BlockingIOError  # it has just been replaced
        except BlockingIOError:
            raise InputError(f"{warc}: another crawl is at work on it") from None
        for file in (path, warc):  # of pages that the journal has too
            remove_partial(file)
        with closing(Journal(path, lines, settings, forgotten)) as journal:
            journal.remove_others()
            yield journal
            journal.remove_others()


def write_outputs(
    journal: Journal, places: Sequence[int], warc: Path, outcomes: Path
) -> Iterator[Row]:
    """Write the WARC file and the outcomes from the journal, and yield the outcomes.

    The journal that is there afterwards is that of the pages, for a later crawl.

    Args:
        journal: Has every link.
        places: Of the lines, in the order of the outputs.
        warc: WARC file to write.
        outcomes: Parquet file to write.
    """
    with (
        journal.successor(warc, places) as lines,
        stream_table(outcomes, OUTCOMES) as table,
        atomic(warc) as partial,
        partial.open("wb") as file,
    ):
        file.write(journal.about_record())
        for place in places:
            row, record = journal.read(place)
            table.append(row)
            if record:
                lines.write(_line(row, True, file.tell(), len(record)))
                file.write(record)
            yield row


def _line(row: Row, linked: bool, offset: int, length: int) -> bytes:
    """Return the line of a link: its outcome, and in which file and where its record stands."""
    return orjson.dumps([*row, linked, offset, length]) + b"\n"


def _values(line: bytes) -> Any:
    """Return the data of a line, None if it is torn."""
    try:
        return orjson.loads(line) if line.endswith(b"\n") else None
    except orjson.JSONDecodeError:
        return None
