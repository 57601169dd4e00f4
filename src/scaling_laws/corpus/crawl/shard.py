"""The links of one crawl, and what has become of them so far."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from scaling_laws.corpus.crawl.addresses import hosts_of
from scaling_laws.corpus.crawl.archives import Archived, read_archived
from scaling_laws.corpus.crawl.content import BodyError
from scaling_laws.corpus.crawl.fetch import Answer
from scaling_laws.corpus.crawl.journal import Journal, Row
from scaling_laws.corpus.crawl.warc import page_record
from scaling_laws.progress import SECONDS_BETWEEN_LINES, track

log = logging.getLogger(__name__)

SECONDS_BETWEEN_FRAMES = 0.5
LARGE_BYTES = 2**18
"""Body that is compressed in a thread, so that the other requests do not wait for it."""


class Shard:
    """The links, by number, and their outcomes.

    Attributes:
        outcomes: Number of links by outcome.
        places: Of each link's line in the journal; -1 while it has none.
    """

    def __init__(self, links: pa.Table, journal: Journal) -> None:
        """Take a table of links with `url_id` and `url`."""
        self._names, self._urls = links["url_id"].combine_chunks(), links["url"].combine_chunks()
        self._journal = journal
        self.outcomes: Counter[str] = Counter()
        self.places = array("q", [-1]) * len(links)

    @property
    def done(self) -> int:
        """Number of links with an outcome."""
        return self.outcomes.total()

    @property
    def finished(self) -> bool:
        """Whether all have one."""
        return self.done == len(self.places)

    def url(self, link: int) -> str:
        """Return the address of a link."""
        url: str = self._urls[link].as_py()
        return url

    def resume(self) -> int:
        """Take from the journal what is finished, and return the number of links.

        A link may have left the table since, or have another address in it.
        """
        known = [
            (place, row.url_id, row.url, row.outcome) for place, row in self._journal.finished()
        ]
        names = pa.array([name for _, name, _, _ in known], pa.string())
        links = pc.index_in(names, value_set=self._names).to_pylist()
        for link, (place, _, url, outcome) in zip(links, known, strict=True):
            if link is not None and self.url(link) == url:
                self.places[link] = place
                self.outcomes[outcome] += 1
        return self.done

    def take_archived(self, found: Sequence[tuple[int, Archived]], maximum_bytes: int) -> None:
        """Answer links from archives.

        Args:
            found: Links and where their pages stand.
            maximum_bytes: Largest body that is kept.
        """
        still_open = [(link, entry) for link, entry in found if self.places[link] < 0]
        pages = track(read_archived(still_open), "crawl: archived pages", len(still_open))
        for link, entry, response in pages:
            answer = Answer(
                "ok",
                status=response.status,
                reason="OK",
                headers=response.headers,
                content_type=response.header("content-type"),
            )
            try:
                answer = answer._replace(body=response.content(maximum_bytes))
            except BodyError as error:
                detail = f"archive: {error.detail}"
                answer = answer._replace(outcome=error.outcome, detail=detail)
            row = self._row(link, answer, entry.url, 0, entry.date, 0.0)
            self._keep(link, row, _record(row, answer))

    def by_host(self) -> Iterator[tuple[str, Iterable[int]]]:
        """Yield each host and the numbers of its links that are still open."""
        left = np.flatnonzero(np.frombuffer(self.places, np.int64) < 0)
        hosts = hosts_of(self._urls.take(pa.array(left))).to_pandas()
        for host, links in pd.Series(left).groupby(hosts, sort=False):
            yield str(host), links.to_numpy()

    async def finish(
        self, link: int, answer: Answer, *, final_url: str, attempts: int, seconds: float
    ) -> None:
        """Keep what came of a link, with its page if that is ok."""
        row = self._row(link, answer, final_url, attempts, datetime.now(UTC), seconds)
        if len(answer.body) < LARGE_BYTES:
            self._keep(link, row, _record(row, answer))
        else:
            self._keep(link, row, await asyncio.to_thread(_record, row, answer))

    @asynccontextmanager
    async def progress(self) -> AsyncIterator[None]:
        """Tell how far the crawl is while the block runs: a bar on a terminal, lines in a log."""
        tell = self._draw if sys.stderr.isatty() else self._log
        task = asyncio.create_task(tell())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _draw(self) -> None:
        columns = (TextColumn("crawl: links"), BarColumn(), MofNCompleteColumn())
        bar = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[rate]}"))
        task = bar.add_task("", total=len(self.places), rate="")
        counts = Text()
        started, before = time.monotonic(), self.done
        with Live(Group(bar, counts), transient=True):
            while True:
                await asyncio.sleep(SECONDS_BETWEEN_FRAMES)
                rate = (self.done - before) / (time.monotonic() - started)
                bar.update(task, completed=self.done, rate=f"{rate:.1f} per second")
                counts.plain = self._counts()

    async def _log(self) -> None:
        started, before = time.monotonic(), self.done
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LINES)
            rate = (self.done - before) / (time.monotonic() - started)
            left = f"{(len(self.places) - self.done) / rate:.0f} s left" if rate else "none yet"
            log.info(
                "crawl: %d of %d links, %.1f per second, %s; %s",
                self.done,
                len(self.places),
                rate,
                left,
                self._counts(),
            )

    def _counts(self) -> str:
        return ", ".join(f"{outcome} {count}" for outcome, count in self.outcomes.most_common())

    def _row(
        self,
        link: int,
        answer: Answer,
        final_url: str,
        attempts: int,
        fetched_at: datetime,
        seconds: float,
    ) -> Row:
        return Row(
            url_id=self._names[link].as_py(),
            url=self.url(link),
            final_url=final_url,
            outcome=answer.outcome,
            detail=answer.detail,
            status=answer.status,
            content_type=answer.content_type or None,
            bytes=len(answer.body),
            attempts=attempts,
            fetched_at=fetched_at,
            seconds=seconds,
        )

    def _keep(self, link: int, row: Row, record: bytes) -> None:
        self.places[link] = self._journal.add(row, record)
        self.outcomes[row.outcome] += 1


def _record(row: Row, answer: Answer) -> bytes:
    """Return the WARC record of a page; none of what is no page."""
    if row.outcome != "ok":
        return b""
    return page_record(
        row.url_id, row.final_url, row.fetched_at, answer.reason, answer.headers, answer.body
    )
