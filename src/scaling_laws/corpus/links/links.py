"""Outbound links of Reddit submissions with enough karma (paper, section 2.3).

Two steps, each of which holds a bounded part in memory: `links` takes the candidates out of each
dump, `merge_links` makes of all dumps' candidates the links of one shard.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scaling_laws.corpus.forgotten import OUTCOME, Forgotten
from scaling_laws.corpus.links.dumps import DamagedDumpError, Post, read_lines, read_post
from scaling_laws.corpus.links.urls import (
    hostname,
    identity,
    normalise,
    registered_domain,
    shard_of,
    url_id,
)
from scaling_laws.errors import InputError
from scaling_laws.ledger import reading
from scaling_laws.output import atomic
from scaling_laws.progress import track
from scaling_laws.tables import GROUP_ROWS, open_table, require_schema, stream_table

MEDIA_DOMAINS = Path(__file__).with_name("media.txt")
BLOCKED_DOMAINS = Path(__file__).with_name("blocked.txt")
NOT_TEXT = {
    *("jpg", "jpeg", "png", "gif", "gifv", "webp", "svg", "bmp", "tif", "tiff", "ico"),
    *("mp4", "m4v", "webm", "mov", "avi", "mkv", "wmv", "flv", "swf"),
    *("mp3", "m4a", "wav", "ogg", "flac"),
    *("pdf", "ps", "doc", "docx", "ppt", "pptx", "xls", "xlsx", "epub"),
    *("zip", "gz", "bz2", "xz", "7z", "rar", "exe", "dmg", "apk", "iso", "torrent"),
}
REDDIT_DOMAINS = {"reddit.com", "redd.it", "redditmedia.com", "reddituploads.com"}
ENCYCLOPEDIA = "wikipedia.org"  # kept apart as a test distribution
DELETED = ("[deleted]", "[removed]")
DOMAIN = re.compile(r"[^\s./:?#@*\\]+(\.[^\s./:?#@*\\]+)+")
DAY = 86_400  # seconds
GREATEST_SCORE = 2**31  # far above any; the sum of many still fits the table

ADDRESS_CHARACTERS = 2**13  # longer ones are no addresses, and only so much is kept of them
LINE_CHARACTERS = 1000  # what is kept of a line that cannot be read
UNREADABLE = {"missing_field", "no_score"}  # reasons that the line itself explains
HELD_ROWS = 16 * GROUP_ROWS

SUBMISSIONS = pa.schema(
    {
        "submission": pa.string(),
        "url": pa.string(),
        "canonical_url": pa.string(),
        "score": pa.int64(),
        "subreddit": pa.string(),
        "created_utc": pa.int64(),
        "shard": pa.int32(),
    }
)
REJECTED = pa.schema(
    {"submission": pa.string(), "url": pa.string(), "reason": pa.string(), "line": pa.string()}
)
LINKS = pa.schema(
    {
        "url_id": pa.string(),
        "url": pa.string(),
        "canonical_url": pa.string(),
        "host": pa.string(),
        "score": pa.int64(),
        "submissions": pa.list_(pa.string()),
        "subreddit": pa.string(),
        "created_utc": pa.int64(),
        "shard": pa.int32(),
    }
)

log = logging.getLogger(__name__)


class Site(NamedTuple):
    """What holds for all pages of a host: its shard, and the reason to leave them out."""

    shard: int
    reason: str | None


class Selection(NamedTuple):
    """Which submissions are candidates: times in Unix seconds, and what is known of a host."""

    start: int
    end: int
    over_18: bool
    site: Callable[[str], Site]


def links(
    dump: Path,
    *,
    output: Path,
    rejected: Path,
    first_day: str = "2005-06-23",
    last_day: str = "2018-10-31",
    over_18: bool = False,
    blocklist: Path | None = None,
    shards: int = 1,
    salvage: bool = False,
) -> dict[str, object]:
    """Select the submissions of one dump that link to a page, whatever their karma.

    Every line of the dump is in one of the two tables. Shards are by registered domain of the
    canonical URL, so that one crawl job owns a site.

    Args:
        dump: Pushshift submission dump: one JSON object a line, plain or compressed with zstd,
            xz, bzip2 or gzip.
        output: Parquet file of the submissions, to be merged over all dumps.
        rejected: Parquet file of the submissions that link to no page, with the reason.
        first_day: First day (UTC) of submissions to keep, as YYYY-MM-DD.
        last_day: Last day (UTC) of submissions to keep, as YYYY-MM-DD.
        over_18: Keep submissions marked as over 18.
        blocklist: Text file of domains or hosts to leave out beside those that are built in, one a
            line; # begins a comment.
        shards: Number of crawl shards.
        salvage: Keep what can be read of a damaged dump.

    Raises:
        InputError: When the dump is missing or damaged, or a day or the blocklist cannot be read.
    """
    start, end = _midnight(first_day, "first_day"), _midnight(last_day, "last_day") + DAY
    if start >= end:
        raise InputError(f"first_day = {first_day} is after last_day = {last_day}")
    media, blocked = _domains(MEDIA_DOMAINS), _domains(BLOCKED_DOMAINS)
    if blocklist:
        blocked |= _domains(blocklist)
    selection = Selection(start, end, over_18, _sites(media, blocked, shards))
    name, lines, reasons, damage = dump.name, 0, Counter[str](), None
    with (
        _stream(output, SUBMISSIONS, "shard") as kept,
        stream_table(rejected, REJECTED) as dropped,
    ):
        try:
            for line in track(read_lines(dump), f"links: {name} lines"):
                lines += 1
                post = read_post(line)
                if post is None:
                    reasons["malformed"] += 1
                    dropped.append((f"{name}:{lines}", None, "malformed", _beginning(line)))
                    continue
                submission = post.id or f"{name}:{lines}"
                found = _page(post, selection)
                if isinstance(found, str):
                    reasons[found] += 1
                    address = post.url and post.url[:ADDRESS_CHARACTERS]
                    shown = _beginning(line) if found in UNREADABLE else None
                    dropped.append((submission, address, found, shown))
                    continue
                kept.append((submission, *found))
        except DamagedDumpError as error:
            if lines == reasons["malformed"]:
                raise InputError(
                    f"{error}. Nothing of it can be kept: fetch the dump again"
                ) from None
            if not salvage:
                raise InputError(
                    f"{error}. Fetch the dump again, or keep what can be read with --salvage "
                    "(links.salvage)"
                ) from None
            damage = str(error)
            log.warning("%s; what could be read is kept", damage)
    statistics = {
        "lines": lines,
        "submissions": lines - reasons.total(),
        "rejected": dict(reasons.most_common()),
    }
    return statistics | ({"salvaged": damage} if damage else {})


def merge_links(
    submissions: list[Path],
    *,
    output: Path,
    rejected: Path,
    shard: int,
    minimum_score: int = 3,
    score_rule: Literal["max", "sum"] = "max",
    forgotten: Path | None = None,
) -> dict[str, object]:
    """Merge the submissions of all dumps into the links of one shard, one row a canonical URL.

    A link's address and subreddit are those of its submission with the most karma, its time is
    that of the earliest. A submission that several dumps hold counts once, with its most karma.
    Links are in the order of their url_id; the order of the tables does not matter.

    Args:
        submissions: Parquet files of the candidate submissions, one a dump.
        output: Parquet file of the shard's links.
        rejected: Parquet file of the submissions whose page has too little karma, or is forgotten.
        shard: Number of the shard.
        minimum_score: Least karma of a page.
        score_rule: Whether a page's karma is the highest of its submissions or their sum.
        forgotten: Text file of URLs and domains to leave out (`forget`); it need not exist.

    Raises:
        InputError: When a table is missing or lacks a column, or the list of what is forgotten
            cannot be read.
    """
    excluded = Forgotten.read(forgotten)
    tables = [_of_shard(path, shard) for path in track(submissions, "merge-links: dumps")]
    rows = pa.concat_tables([_large(SUBMISSIONS).empty_table(), *tables]).combine_chunks()
    read = len(rows)
    # What is sorted by is all that a row has, so that its place does not depend on the dumps'.
    rows = _sorted(rows, "submission", "canonical_url", "-score", "created_utc", "url", "subreddit")
    rows = rows.take(np.union1d(_starts(rows["submission"]), _starts(rows["canonical_url"])))
    rows = _sorted(rows, "canonical_url", "-score", "created_utc", "submission")

    starts = _starts(rows["canonical_url"])
    scores = rows["score"].to_numpy()
    karma = scores[starts] if score_rule == "max" else _reduced(np.add, scores, starts)
    best = rows.take(starts)
    pages = pa.table(
        {
            "url_id": [url_id(canonical) for canonical in best["canonical_url"].to_pylist()],
            "url": best["url"],
            "canonical_url": best["canonical_url"],
            "host": [hostname(url) for url in best["url"].to_pylist()],
            "score": karma,
            "submissions": pa.LargeListArray.from_arrays(
                np.append(starts, len(rows)), rows["submission"].combine_chunks()
            ),
            "subreddit": best["subreddit"],
            "created_utc": _reduced(np.minimum, rows["created_utc"].to_numpy(), starts),
            "shard": best["shard"],
        },
        schema=_large(LINKS),
    )
    left_out = excluded.among(best["canonical_url"].to_pylist())
    reasons = np.where(karma < minimum_score, "score", np.where(left_out, OUTCOME, ""))
    taken = reasons == ""
    reasons = np.repeat(reasons, np.diff(starts, append=len(rows)))
    dropped = rows.select(["submission", "url"])
    dropped = dropped.append_column("reason", pa.array(reasons, pa.large_string()))
    dropped = dropped.append_column("line", pa.nulls(len(rows), pa.large_string()))
    dropped = dropped.filter(reasons != "")
    _write(_sorted(pages.filter(taken), "url_id"), output, LINKS)
    _write(_sorted(dropped, "submission"), rejected, REJECTED)
    counts = {"score": int((reasons == "score").sum())}
    if excluded:
        counts[OUTCOME] = int((reasons == OUTCOME).sum())
    return {
        "submissions": len(rows),
        "repeated": read - len(rows),
        "links": int(taken.sum()),
        "rejected": counts,
    }


class _Sorter:
    """Many rows at a time on their way into a table, in the order of a column.

    They are held as one flat list, because that many tuples would keep the garbage collector busy.
    """

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema, order: str) -> None:
        self._writer, self._schema, self._order = writer, schema, order
        self._cells: list[Any] = []
        self._full = HELD_ROWS * len(schema)

    def append(self, row: tuple[Any, ...]) -> None:
        """Add a row, its values in the order of the schema."""
        self._cells.extend(row)
        if len(self._cells) == self._full:
            self.write()

    def write(self) -> None:
        """Write the rows that are held, in their order."""
        if not self._cells:
            return
        columns = [
            pa.array(self._cells[place :: len(self._schema)], field.type)
            for place, field in enumerate(self._schema)
        ]
        self._cells.clear()
        rows = pa.Table.from_arrays(columns, schema=self._schema)
        rows = rows.take(np.argsort(rows[self._order].to_numpy(), kind="stable"))
        self._writer.write_table(rows, row_group_size=GROUP_ROWS)


@contextmanager
def _stream(path: Path, schema: pa.Schema, order: str) -> Iterator[_Sorter]:
    """Yield a writer of the Parquet file `path`, which is there when the block has succeeded.

    Each row group has few values of the column `order`, so that who looks for one of them needs
    few row groups.
    """
    with atomic(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        rows = _Sorter(writer, schema, order)
        yield rows
        rows.write()


def _midnight(day: str, name: str) -> int:
    """Return the first second (UTC) of a day."""
    try:
        return int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError as error:
        raise InputError(f"{name}: {error}; expected YYYY-MM-DD") from None


def _domains(path: Path) -> set[str]:
    """Return the domains and hosts that a text file lists, as they stand in canonical URLs."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    domains = set()
    for number, line in enumerate(reading(path).read_bytes().splitlines(), start=1):
        try:
            entry = line.decode().partition("#")[0].strip()
            if not entry:
                continue
            if not DOMAIN.fullmatch(entry):
                raise ValueError(f"found {entry!r}")
            domains.add(hostname(identity(normalise(f"http://{entry}/"))))
        except ValueError as error:
            raise InputError(
                f"{path}:{number}: {error}; expected a domain or host, such as example.com"
            ) from None
    return domains


def _sites(media: Set[str], blocked: Set[str], shards: int) -> Callable[[str], Site]:
    """Return the function that tells what holds for a host, given with its port if it has one."""

    @lru_cache(maxsize=2**16)
    def site(authority: str) -> Site:
        host = hostname(f"//{authority}")
        domain = registered_domain(host)
        labels = host.split(".")
        names = {".".join(labels[first:]) for first in range(len(labels))}
        reason = None
        if domain in REDDIT_DOMAINS:
            reason = "reddit"
        elif domain == ENCYCLOPEDIA:
            reason = "wikipedia"
        elif names & media:
            reason = "media"
        elif names & blocked:
            reason = "blocked"
        return Site(shard_of(host, shards), reason)

    return site


def _beginning(line: bytes) -> str:
    """Return the first characters of a line."""
    return line[: 4 * LINE_CHARACTERS].decode(errors="replace")[:LINE_CHARACTERS]


def _page(post: Post, selection: Selection) -> tuple[str, str, int, str, int, int] | str:
    """Return what a submission says of a page, as the table has it, or why it says nothing."""
    address, created, score = post.url, post.created_utc, post.score
    if not address or address in DELETED:
        return "deleted" if address or post.author in DELETED else "missing_field"
    if created is None:
        return "missing_field"
    if score is None or abs(score) > GREATEST_SCORE:
        return "no_score"
    if post.is_self:
        return "self_post"
    if post.over_18 and not selection.over_18:
        return "over_18"
    if not selection.start <= created < selection.end:
        return "date"
    if address[0] == "/" and address[:2] != "//":
        return "reddit"  # a crosspost, relative to Reddit itself
    if len(address) > ADDRESS_CHARACTERS:
        return "address"
    try:
        url = normalise(address)
    except ValueError:
        return "address"
    canonical = identity(url)
    site = selection.site(canonical.split("/", 3)[2])
    if site.reason:
        return site.reason
    path = canonical.partition("?")[0]
    if path.rpartition(".")[2].lower() in NOT_TEXT:
        return "media"
    return url, canonical, score, post.subreddit or "", int(created), site.shard


def _of_shard(path: Path, shard: int) -> pa.Table:
    """Return the submissions of one shard, without reading row groups that have none of them."""
    parts = [SUBMISSIONS.empty_table()]
    with open_table(path) as table:
        require_schema(table.schema_arrow, SUBMISSIONS, path)
        for group in range(table.num_row_groups):
            column = table.metadata.row_group(group).column(SUBMISSIONS.get_field_index("shard"))
            if column.statistics.min <= shard <= column.statistics.max:
                rows = table.read_row_group(group)
                parts.append(rows.filter(pc.equal(rows["shard"], shard)))
    return pa.concat_tables(parts).cast(_large(SUBMISSIONS)).combine_chunks()


def _large(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose columns may hold more than 2 GiB of text."""
    large = {
        pa.string(): pa.large_string(),
        pa.list_(pa.string()): pa.large_list(pa.large_string()),
    }
    return pa.schema({field.name: large.get(field.type, field.type) for field in schema})


def _sorted(rows: pa.Table, *columns: str) -> pa.Table:
    """Return rows in the order of columns; a minus before one is for the highest first."""
    return rows.sort_by(
        [
            (column.removeprefix("-"), "descending" if column.startswith("-") else "ascending")
            for column in columns
        ]
    )


def _starts(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the places where a sorted column has a new value."""
    values = column.combine_chunks()
    if not len(values):
        return np.zeros(0, np.int64)
    changed = pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    return np.flatnonzero(np.append(True, changed))


def _reduced(
    operation: np.ufunc, values: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the sum, the least and so on of the values from each start to the next."""
    return operation.reduceat(values, starts) if len(starts) else values


def _write(rows: pa.Table, path: Path, schema: pa.Schema) -> None:
    """Write a table in row groups of a fixed number of rows."""
    with atomic(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for start in range(0, len(rows), GROUP_ROWS):
            writer.write_table(rows.slice(start, GROUP_ROWS).cast(schema))
