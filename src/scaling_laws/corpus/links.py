"""Outbound links of Reddit submissions with enough karma (paper, section 2.3)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
import pandas as pd
from backports import zstd

from scaling_laws.corpus.urls import identity, normalise, registered_domain, url_id
from scaling_laws.errors import InputError
from scaling_laws.progress import track
from scaling_laws.tables import write_table

NOT_TEXT = (
    *(".jpg", ".jpeg", ".png", ".gif", ".gifv", ".webp", ".svg", ".bmp"),
    *(".mp4", ".webm", ".mov", ".avi", ".mp3", ".wav", ".ogg"),
    *(".pdf", ".zip", ".gz", ".exe", ".dmg"),
)
MEDIA_DOMAINS = {
    *("imgur.com", "gfycat.com", "giphy.com", "flickr.com", "instagram.com"),
    *("youtube.com", "youtu.be", "streamable.com", "vimeo.com", "twitch.tv"),
    *("soundcloud.com", "spotify.com"),
}
REDDIT_DOMAINS = {"reddit.com", "redd.it", "redditmedia.com"}
ENCYCLOPEDIA = "wikipedia.org"  # kept apart as a test distribution
WINDOW_LOG = 31  # Pushshift compresses with a window of 2 GiB


class Submission(NamedTuple):
    """What is kept of one submission: karma, address to fetch and time in Unix seconds."""

    submission: str
    url: str
    canonical_url: str
    score: int
    subreddit: str
    created_utc: int


class Rejection(NamedTuple):
    """A submission that gives no link, and why."""

    submission: str
    url: str | None
    reason: str


def links(
    dumps: list[Path],
    *,
    output: Path,
    rejected: Path,
    minimum_score: int = 3,
    first_day: str = "2005-06-23",
    last_day: str = "2018-10-31",
    over_18: bool = False,
    shards: int = 1,
) -> dict[str, object]:
    """Select the pages that Reddit submissions link to, one row a canonical URL.

    A page's score is the highest of its submissions, its address the one of the submission with
    that score. Shards are by registered domain, so that one crawl job owns a host.

    Args:
        dumps: Pushshift submission dumps: one JSON object a line, zstd-compressed.
        output: Parquet file of the links.
        rejected: Parquet file of the submissions that gave none, with the reason.
        minimum_score: Least karma of a page.
        first_day: First day (UTC) of submissions to keep, as YYYY-MM-DD.
        last_day: Last day (UTC) of submissions to keep, as YYYY-MM-DD.
        over_18: Keep submissions marked as over 18.
        shards: Number of crawl shards.

    Raises:
        InputError: When a dump is missing, damaged or truncated.
    """
    try:
        first, last = date.fromisoformat(first_day), date.fromisoformat(last_day)
    except ValueError as error:
        raise InputError(f"first_day, last_day: {error}; expected YYYY-MM-DD") from None
    kept: list[Submission] = []
    dropped: list[Rejection] = []
    lines = 0
    for dump in dumps:
        for name, line in track(_lines(dump), f"links: {dump.name} lines"):
            lines += 1
            outcome = _read(name, line, first, last, over_18)
            (kept if isinstance(outcome, Submission) else dropped).append(outcome)  # type: ignore[arg-type]

    submissions = pd.DataFrame(kept, columns=Submission._fields)
    order = ["canonical_url", "score", "created_utc", "submission"]
    submissions = submissions.sort_values(order, ascending=[True, False, True, True])
    pages = submissions.groupby("canonical_url", sort=True)
    table = pages.agg(
        url=("url", "first"),
        score=("score", "max"),
        submissions=("submission", list),
        subreddit=("subreddit", "first"),
        created_utc=("created_utc", "min"),
    ).reset_index()
    enough = table["score"] >= minimum_score
    poor = submissions[submissions["canonical_url"].isin(table.loc[~enough, "canonical_url"])]
    dropped += map(Rejection, poor["submission"], poor["url"], repeat("score"))
    table = table[enough]
    table.insert(0, "url_id", [url_id(canonical) for canonical in table["canonical_url"]])
    table.insert(2, "host", [urlsplit(url).hostname for url in table["url"]])
    table["shard"] = [
        zlib.crc32(registered_domain(host).encode()) % shards for host in table["host"]
    ]
    write_table(table.sort_values("url_id"), output)
    reasons = pd.DataFrame(dropped, columns=Rejection._fields)
    write_table(reasons.sort_values(["reason", "submission"]), rejected)
    return {
        "links": len(table),
        "lines": lines,
        "rejected": reasons["reason"].value_counts().to_dict(),
    }


def _lines(dump: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each line of a dump with its name, such as RS_2017-11.zst:12."""
    number = 0
    try:
        with zstd.open(
            dump, "rb", options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG}
        ) as lines:
            for number, line in enumerate(lines, start=1):
                yield f"{dump.name}:{number}", line
    except FileNotFoundError:
        raise InputError(f"{dump}: no such dump; name existing files under links.dumps") from None
    except (EOFError, zstd.ZstdError) as error:
        raise InputError(
            f"{dump}: not a whole zstd file; {number} lines were read before: {error}. "
            "Fetch the dump again."
        ) from None


def _read(name: str, line: bytes, first: date, last: date, over_18: bool) -> Submission | Rejection:
    """Return what a line of a dump says of a page, or why it says nothing."""
    try:
        post: dict[str, Any] = orjson.loads(line)
        submission = str(post.get("id", name))
    except (orjson.JSONDecodeError, AttributeError):
        return Rejection(name, None, "malformed")
    address = post.get("url")
    try:
        score, created = int(post["score"]), int(post["created_utc"])
    except (KeyError, TypeError, ValueError):
        return Rejection(submission, address, "missing_field")
    if not address or not isinstance(address, str):
        return Rejection(submission, None, "missing_field")
    if post.get("is_self"):
        return Rejection(submission, address, "self_post")
    if post.get("over_18") and not over_18:
        return Rejection(submission, address, "over_18")
    if not first <= datetime.fromtimestamp(created, UTC).date() <= last:
        return Rejection(submission, address, "date")
    try:
        url = normalise(address)
    except ValueError:
        return Rejection(submission, address, "address")
    parts = urlsplit(url)
    domain = registered_domain(parts.hostname or "")
    if domain in REDDIT_DOMAINS:
        return Rejection(submission, address, "reddit")
    if domain == ENCYCLOPEDIA:
        return Rejection(submission, address, "wikipedia")
    if domain in MEDIA_DOMAINS or parts.path.lower().endswith(NOT_TEXT):
        return Rejection(submission, address, "media")
    return Submission(
        submission, url, identity(url), score, str(post.get("subreddit", "")), created
    )
