"""Links: which submissions of a dump become pages, whatever the dump's year and compression."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd

from scaling_laws.corpus.links import dumps
from scaling_laws.corpus.links import links as stage
from scaling_laws.corpus.links.links import links, merge_links
from scaling_laws.errors import InputError
from scaling_laws.tables import GROUP_ROWS, concat, read_batches

NOVEMBER_2017 = 1_510_000_000
ALL_DAYS = {"first_day": "2005-06-23", "last_day": "2018-10-31"}


def post(number: int, url: str | None, score: int = 10, **others: Any) -> dict[str, Any]:
    return {
        "id": f"p{number}",
        "author": "somebody",
        "url": url,
        "score": score,
        "created_utc": NOVEMBER_2017 + number,
        "subreddit": "news",
        "is_self": False,
        "over_18": False,
    } | others


def text(posts: list[dict[str, Any] | str]) -> bytes:
    return "".join(f"{p if isinstance(p, str) else json.dumps(p)}\n" for p in posts).encode()


def long_window(content: bytes) -> bytes:
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: 31,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    compressor = zstd.ZstdCompressor(options=options)
    return compressor.compress(content) + compressor.flush()


class Run:
    """Runs of `links` on one dump, and what they wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.dump = folder, folder / "RS_2017-11.zst"
        self.output, self.rejected = folder / "s.parquet", folder / "r.parquet"

    def __call__(self, content: bytes, **options: Any) -> dict[str, Any]:
        self.dump.write_bytes(content)
        options = ALL_DAYS | options
        return links(self.dump, output=self.output, rejected=self.rejected, **options)

    def kept(self) -> list[dict[str, Any]]:
        return pq.read_table(self.output).to_pylist()

    def reasons(self) -> dict[str, str]:
        table = pq.read_table(self.rejected).to_pylist()
        assert len({row["submission"] for row in table}) == len(table)
        return {row["submission"]: row["reason"] for row in table}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


# Which submissions are kept


def test_every_submission_is_kept_or_rejected_with_its_reason(run: Run) -> None:
    statistics = run(
        text(
            [
                post(1, "http://a.example/x"),
                post(2, "http://b.example/x", score=-2),
                post(3, "http://c.example/", is_self=True),
                post(4, "http://d.example/", over_18=True),
                post(5, "http://i.imgur.com/a"),
                post(6, "http://e.example/a.PDF?b"),
                post(7, "https://www.reddit.com/r/a"),
                post(8, "https://en.m.wikipedia.org/wiki/A"),
                post(9, "http://f.example/", created_utc=1_541_030_400),  # 2018-11-01
                '{"id": "p10", ',
                {"id": "p11", "url": "http://g.example/"},
                post(12, "not an address"),
                "[1]",
                post(14, "http://h.example/", score=None),
                post(15, "", author="[deleted]"),
                post(16, "https://twitter.com/a/status/1"),
                post(17, None),
                post(18, "/r/news/comments/1/a_crosspost/"),
                post(19, "https://www.google.com/amp/s/www.reddit.com/r/a"),
                post(20, "http://i.example/", created_utc=1_119_484_799),  # 2005-06-22
                post(21, "http://j.example/" + "j" * 10_000),
                "",
            ]
        )
    )
    assert [row["submission"] for row in run.kept()] == ["p1", "p2"]
    assert run.reasons() == {
        "p3": "self_post",
        "p4": "over_18",
        "p5": "media",
        "p6": "media",
        "p7": "reddit",
        "p8": "wikipedia",
        "p9": "date",
        "RS_2017-11.zst:10": "malformed",
        "p11": "missing_field",
        "p12": "address",
        "RS_2017-11.zst:13": "malformed",
        "p14": "no_score",
        "p15": "deleted",
        "p16": "blocked",
        "p17": "missing_field",
        "p18": "reddit",
        "p19": "reddit",
        "p20": "date",
        "p21": "address",
        "RS_2017-11.zst:22": "malformed",
    }
    rejected = pq.read_table(run.rejected).to_pylist()
    assert [len(row["url"]) for row in rejected if row["submission"] == "p21"] == [8192]
    shown = {row["submission"]: row["line"] for row in rejected if row["line"] is not None}
    assert shown.keys() == {f"RS_2017-11.zst:{n}" for n in (10, 13, 22)} | {"p11", "p14", "p17"}
    assert shown["p11"] == '{"id": "p11", "url": "http://g.example/"}'
    assert statistics["lines"] == 22 and statistics["submissions"] == 2
    assert sum(statistics["rejected"].values()) == 20


def test_the_last_day_is_included_and_over_18_can_be(run: Run) -> None:
    run(text([post(1, "http://a.example/", created_utc=1_541_030_399, over_18=True)]), over_18=True)
    assert len(run.kept()) == 1


# What Reddit's submissions looked like over the years.
VINTAGES: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "2005: time as text": (
        {
            "archived": True,
            "author": "founder",
            "created_utc": "1119552233",
            "domain": "a.example",
            "edited": False,
            "id": "87",
            "is_self": False,
            "over_18": False,
            "score": 1,
            "selftext": "",
            "subreddit": "reddit.com",
            "title": "A first link",
            "url": "http://a.example/first",
        },
        ("87", "http://a.example/first", 1, "reddit.com", 1_119_552_233),
    ),
    "2011: votes, times as floats and escaped signs": (
        {
            "author": "reader",
            "clicked": False,
            "created": 1_300_028_800.0,
            "created_utc": 1_300_000_000.0,
            "downs": 12,
            "id": "g2abc",
            "is_self": False,
            "likes": None,
            "media_embed": {},
            "name": "t3_g2abc",
            "over_18": False,
            "saved": False,
            "subreddit": "science",
            "ups": 52,
            "url": "http://a.example/view?id=7&amp;page=2",
        },
        ("g2abc", "http://a.example/view?id=7&page=2", 40, "science", 1_300_000_000),
    ),
    "2013: a score of null and upvotes alone": (
        {
            "author": "reader",
            "created_utc": 1_370_000_000,
            "id": "1fabcd",
            "is_self": False,
            "over_18": False,
            "score": None,
            "subreddit": "news",
            "ups": 9,
            "url": "http://a.example/x",
        },
        ("1fabcd", "http://a.example/x", 9, "news", 1_370_000_000),
    ),
    "2017: promoted, without a subreddit": (
        {
            "author": "shop",
            "brand_safe": True,
            "created_utc": 1_500_000_000,
            "href_url": "http://b.example/",
            "id": "6nabcd",
            "is_self": False,
            "over_18": False,
            "promoted": True,
            "score": 0,
            "subreddit_id": None,
            "url": "http://a.example/offer",
            "whitelist_status": None,
        },
        ("6nabcd", "http://a.example/offer", 0, "", 1_500_000_000),
    ),
    "2018: a preview with addresses of its own": (
        {
            "author": "reader",
            "created_utc": 1_525_000_000,
            "crosspost_parent_list": [{"url": "http://b.example/", "score": 3, "id": "8gaaaa"}],
            "id": "8gabcd",
            "is_self": False,
            "over_18": False,
            "preview": {"images": [{"id": "x", "source": {"url": "https://i.redd.it/x.jpg"}}]},
            "score": 77,
            "subreddit": "europe",
            "url": "https://a.example/x",
        },
        ("8gabcd", "https://a.example/x", 77, "europe", 1_525_000_000),
    ),
    "2023: the destination overrides the address": (
        {
            "_meta": {"retrieved_2nd_on": 1_700_200_000},
            "author": "reader",
            "created_utc": 1_700_000_000,
            "downs": 0,
            "id": "17vabcd",
            "is_gallery": False,
            "is_self": False,
            "over_18": False,
            "score": 5,
            "subreddit": "news",
            "ups": 5,
            "url": "/r/other/comments/17vaaaa/the_same/",
            "url_overridden_by_dest": "https://a.example/x",
        },
        ("17vabcd", "https://a.example/x", 5, "news", 1_700_000_000),
    ),
    "odd types in one line": (
        {
            "author": ["?"],
            "created_utc": "1500000000.5",
            "id": "6nzzzz",
            "is_self": 0,
            "over_18": "false",
            "score": "12",
            "subreddit": 5,
            "url": "http://a.example/x",
        },
        ("6nzzzz", "http://a.example/x", 12, "", 1_500_000_000),
    ),
}


@pytest.mark.parametrize("vintage", VINTAGES)
def test_submissions_of_all_years_are_read(run: Run, vintage: str) -> None:
    fields, expected = VINTAGES[vintage]
    run(text([fields]), last_day="2024-12-31")
    (row,) = run.kept()
    columns = ("submission", "url", "score", "subreddit", "created_utc")
    assert tuple(row[column] for column in columns) == expected


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"author": "[deleted]", "url": None}, "deleted"),
        ({"author": "[deleted]", "url": ""}, "deleted"),
        ({"url": "[deleted]"}, "deleted"),
        ({"url": ""}, "missing_field"),
        ({"url": 7}, "missing_field"),
        ({"created_utc": None}, "missing_field"),
        ({"created_utc": "yesterday"}, "missing_field"),
        ({"created_utc": "nan"}, "date"),
        ({"created_utc": 10**30}, "date"),
        ({"score": "many"}, "no_score"),
        ({"score": 10**30}, "no_score"),
        ({"score": None, "downs": 3}, "no_score"),
        ({"is_self": 1}, "self_post"),
        ({"over_18": "true"}, "over_18"),
        ({"url": "http://a.example/", "url_overridden_by_dest": "https://v.redd.it/x"}, "reddit"),
        ({"url": "http://[/"}, "address"),
    ],
)
def test_what_is_odd_in_a_submission_is_its_reason(
    run: Run, fields: dict[str, Any], reason: str
) -> None:
    run(text([post(1, "http://a.example/") | fields]))
    assert run.reasons() == {"p1": reason}


def test_half_a_character_in_a_title_costs_nothing(run: Run) -> None:
    run(
        text(
            [
                post(1, "http://a.example/", title="\ud83d", subreddit="\ud83d"),
                post(2, "http://\ud83d/"),
            ]
        )
    )
    (row,) = run.kept()
    assert (row["submission"], row["url"], row["subreddit"]) == (
        "p1",
        "http://a.example/",
        "\ufffd",
    )
    assert run.reasons() == {"p2": "address"}


def test_a_submission_without_an_id_is_named_by_its_place(run: Run) -> None:
    run(text([post(1, "http://a.example/"), post(2, "http://b.example/") | {"id": None}]))
    assert [row["submission"] for row in run.kept()] == ["p1", "RS_2017-11.zst:2"]


def test_of_a_malformed_line_its_beginning_is_kept(run: Run) -> None:
    content = b'{"id": "p1", "title": "\xff' + b"x" * 5000 + b"\n"
    run(content + b'{"a":' * 20_000 + b"\n" + text([post(3, "ftp://a.example/")]))
    first, second, third = pq.read_table(run.rejected).to_pylist()
    assert first["line"] == '{"id": "p1", "title": "\ufffd' + "x" * 976
    assert second["line"] == '{"a":' * 200 and second["reason"] == "malformed"
    assert third["line"] is None and third["url"] == "ftp://a.example/"


# Blocked domains


def test_a_blocklist_adds_domains_and_hosts(run: Run) -> None:
    blocklist = run.folder / "blocklist.txt"
    blocklist.write_text(
        "# mine\n\nshop.example  # a shop\nWWW.Bücher.example\nlive.news.example\n"
    )
    addresses = [
        *("http://shop.example/", "https://deep.in.shop.example:8080/x", "http://bücher.example/"),
        *("http://live.news.example/", "http://news.example/", "http://myshop.example/"),
        "http://imgur.com/a",
    ]
    run(text([post(n, url) for n, url in enumerate(addresses)]), blocklist=blocklist)
    assert [row["submission"] for row in run.kept()] == ["p4", "p5"]
    assert run.reasons() == dict.fromkeys(["p0", "p1", "p2", "p3"], "blocked") | {"p6": "media"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"http://a.example/", "'http://a.example/'"),
        (b"a.example b.example", "'a.example b.example'"),
        (b"*.a.example", "a.example"),
        (b"com", "'com'"),
        (b"a..example", "'a..example'"),
        (b"a\xff.example", "can't decode"),
    ],
)
def test_an_odd_line_of_a_blocklist_is_named(run: Run, line: bytes, found: str) -> None:
    blocklist = run.folder / "blocklist.txt"
    blocklist.write_bytes(b"# mine\n" + line + b"\n")
    with pytest.raises(InputError, match=rf"blocklist\.txt:2: .*{re.escape(found)}.*; expected"):
        run(b"{}", blocklist=blocklist)


def test_a_missing_blocklist_and_days_that_are_none_are_told(run: Run) -> None:
    with pytest.raises(InputError, match=r"none\.txt: no such file"):
        run(b"{}", blocklist=Path("none.txt"))
    with pytest.raises(InputError, match=r"first_day: .*; expected YYYY-MM-DD"):
        run(b"{}", first_day="yesterday")
    with pytest.raises(InputError, match="first_day = 2018-11-01 is after last_day"):
        run(b"{}", first_day="2018-11-01")


def test_the_built_in_domains_are_hosts_that_stand_once() -> None:
    listed = []
    for path in (stage.MEDIA_DOMAINS, stage.BLOCKED_DOMAINS):
        lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
        assert stage._domains(path) == set(lines)
        listed += lines
    assert len(listed) == len(set(listed)) > 80


# Dumps: compressions, damage

POSTS = [post(n, f"http://a.example/{random.Random(n).getrandbits(400):x}") for n in range(4000)]
CONTENT = text(POSTS)
HALVES = CONTENT[: len(CONTENT) // 2], CONTENT[len(CONTENT) // 2 :]
SKIPPED = b"\x50\x2a\x4d\x18\x04\0\0\0skip"

COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": long_window,
    "xz": lzma.compress,
    "bzip2": partial(bz2.compress, compresslevel=1),  # blocks of 100 kB
    "gzip": gzip.compress,
}


@pytest.mark.parametrize(
    "archive",
    [
        CONTENT,
        *(compress(CONTENT) for compress in COMPRESSIONS.values()),
        *(b"".join(map(compress, HALVES)) for compress in COMPRESSIONS.values()),
        SKIPPED + long_window(CONTENT) + SKIPPED,
        gzip.compress(CONTENT) + bytes(3000),
        lzma.compress(CONTENT) + bytes(8),
        long_window(CONTENT.replace(b"\n", b"\r\n")),
        long_window(CONTENT.removesuffix(b"\n")),
    ],
)
def test_a_dump_is_read_whatever_its_compression_and_name(run: Run, archive: bytes) -> None:
    assert run(archive)["submissions"] == len(POSTS)
    assert [row["submission"] for row in run.kept()] == [post["id"] for post in POSTS]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("left", [0.3, 0.999])
def test_a_dump_that_is_cut_off_is_told_or_salvaged(
    run: Run, compression: str, left: float, caplog: pytest.LogCaptureFixture
) -> None:
    archive = COMPRESSIONS[compression](CONTENT)
    archive = archive[: int(len(archive) * left)]
    told = (
        rf"RS_2017-11\.zst: the archive is cut off; its first {len(archive):,} bytes gave ([\d,]+) "
        r"bytes of text, ([\d,]+) whole lines"
    )
    with pytest.raises(InputError, match=told + r"\. Fetch the dump again, or keep") as error:
        run(archive)
    assert not run.output.exists() and not run.rejected.exists()

    statistics = run(archive, salvage=True)
    (found,) = re.findall(told, str(error.value))
    size, whole = (int(number.replace(",", "")) for number in found)
    assert re.match(told, statistics["salvaged"].partition(f"{run.folder}/")[2])
    assert statistics["salvaged"] in caplog.text
    assert whole == CONTENT[:size].count(b"\n") and whole > 0.2 * left * len(POSTS)
    torn = CONTENT[:size].rpartition(b"\n")[2]
    assert statistics["submissions"] == whole
    assert statistics["rejected"] == ({"malformed": 1} if torn else {})


@pytest.mark.parametrize("content", [text([post(1, "http://a.example/")]), CONTENT[:300]])
def test_a_dump_of_which_nothing_can_be_read_is_not_salvaged(run: Run, content: bytes) -> None:
    archive = gzip.compress(content)[:-20]  # of one line, or of a few that are not whole
    with pytest.raises(InputError, match="Nothing of it can be kept"):
        run(archive, salvage=True)
    assert not run.output.exists() and not run.rejected.exists()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_dump_that_is_damaged_is_told_or_salvaged(run: Run, compression: str) -> None:
    whole = COMPRESSIONS[compression](CONTENT)
    damaged = COMPRESSIONS[compression](CONTENT)
    middle = len(damaged) // 2
    damaged = whole + damaged[:middle] + bytes(50) + damaged[middle + 50 :]
    with pytest.raises(InputError, match=r"the archive is damaged \(.+\); its first"):
        run(damaged)
    assert run(damaged, salvage=True)["submissions"] >= len(POSTS)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_follows_an_archive_and_is_none_is_not_passed_over(run: Run, compression: str) -> None:
    archive = COMPRESSIONS[compression](CONTENT)
    with pytest.raises(InputError, match=r"the archive is damaged"):
        run(archive + b"and something else")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "it is empty"),
        (b"not compressed", "it begins with b'not compressed'"),
        (random.Random(0).randbytes(9000), "it begins with"),
    ],
)
def test_a_file_that_is_no_dump_is_told(run: Run, content: bytes, found: str) -> None:
    with pytest.raises(InputError, match=rf"RS_2017-11\.zst: {found}.*; expected JSON lines"):
        run(content, salvage=True)


def test_a_missing_dump_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.zst: no such dump"):
        links(tmp_path / "none.zst", output=tmp_path / "s", rejected=tmp_path / "r", **ALL_DAYS)


def test_a_plain_dump_may_begin_with_a_damaged_line(run: Run) -> None:
    assert run(b"<html>\n" + CONTENT)["rejected"] == {"malformed": 1}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_line_without_an_end_is_cut(
    run: Run, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumps, "LONGEST_LINE", 3 * dumps.BLOCK)
    endless = b'{"id": "' + b"x" * (10 * dumps.BLOCK) + b'"}'
    run.dump.write_bytes(COMPRESSIONS[compression](endless + b"\n{}\n"))
    assert [len(line) for line in dumps.read_lines(run.dump)] == [3 * dumps.BLOCK, 2]


# Tables: shards, order, bytes


def test_a_shard_owns_all_hosts_of_a_domain_and_all_variants_of_a_page(run: Run) -> None:
    hosts = ("a", "b", "www", "m")
    urls = [f"http://{host}.site{n}.example/" for n in range(40) for host in hosts]
    urls += [f"https://www.google.com/amp/s/site{n}.example/" for n in range(40)]
    run(text([post(n, url) for n, url in enumerate(urls)]), shards=4)
    table = pd.DataFrame(run.kept())
    table["domain"] = table["canonical_url"].str.extract(r"(site\d+)")
    assert table.groupby("domain")["shard"].nunique().eq(1).all()
    assert table["shard"].nunique() == 4


def test_the_rows_of_a_shard_stand_in_few_row_groups(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "HELD_ROWS", 800)
    monkeypatch.setattr(stage, "GROUP_ROWS", 100)
    run(text([post(n, f"http://site{n % 97}.example/{n}") for n in range(2000)]), shards=8)
    table = pq.ParquetFile(run.output).metadata
    shard = stage.SUBMISSIONS.get_field_index("shard")
    groups = [table.row_group(n) for n in range(table.num_row_groups)]
    assert [group.num_rows for group in groups] == [100] * 20
    bounds = [group.column(shard).statistics for group in groups]
    holding_3 = sum(bound.min <= 3 <= bound.max for bound in bounds)
    assert holding_3 <= 3 * 3  # of each batch of eight groups, those with one eighth of its rows
    rows = [(row["shard"], int(row["submission"][1:])) for row in run.kept()]
    assert sorted(number for _, number in rows) == list(range(2000))
    of_3 = [number for shard, number in rows if shard == 3]
    assert of_3 == sorted(of_3)


def test_the_same_dump_gives_the_same_bytes(run: Run) -> None:
    run(CONTENT, shards=3)
    first = run.output.read_bytes(), run.rejected.read_bytes()
    run(long_window(CONTENT), shards=3)
    assert (run.output.read_bytes(), run.rejected.read_bytes()) == first


def test_no_submission_gives_empty_tables(run: Run) -> None:
    assert run(long_window(b"")) == {"lines": 0, "submissions": 0, "rejected": {}}
    assert run.kept() == [] and run.reasons() == {}
    assert pq.read_schema(run.output).equals(stage.SUBMISSIONS)


# Merging


class Merge:
    """Merges of dumps, and what they wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, Run(folder)
        self.output, self.rejected = folder / "links.parquet", folder / "poor.parquet"

    def tables(self, *dumps: list[dict[str, Any]], shards: int = 1) -> list[Path]:
        paths = []
        for number, posts in enumerate(dumps):
            self.run(text(posts), shards=shards)
            paths.append(self.run.output.rename(self.folder / f"{number}.parquet"))
        return paths

    def __call__(self, *dumps: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
        options = {"shard": 0} | options
        self.statistics = merge_links(
            self.tables(*dumps), output=self.output, rejected=self.rejected, **options
        )
        return pq.read_table(self.output).to_pylist()


@pytest.fixture
def merge(tmp_path: Path) -> Merge:
    return Merge(tmp_path)


def test_submissions_of_one_page_are_one_link_with_the_best_score_and_its_address(
    merge: Merge,
) -> None:
    (link,) = merge(
        [post(1, "https://www.a.example/x?utm_medium=y", score=4)],
        [
            post(2, "http://a.example/x", score=9, subreddit="europe"),
            post(3, "http://a.example/x#top", score=1),
        ],
    )
    assert link == {
        "url_id": link["url_id"],
        "url": "http://a.example/x",
        "canonical_url": "http://a.example/x",
        "host": "a.example",
        "score": 9,
        "submissions": ["p2", "p1", "p3"],
        "subreddit": "europe",
        "created_utc": NOVEMBER_2017 + 1,
        "shard": 0,
    }
    assert re.fullmatch("[0-9a-f]{32}", link["url_id"])


def test_what_is_fetched_has_its_parameters_in_the_order_they_were_posted_in(merge: Merge) -> None:
    posts = [
        post(1, "http://a.example/?b=1&a=2&utm_source=x", score=19),
        post(2, "http://a.example/?a=2&b=1"),
    ]
    (link,) = merge(posts)
    assert link["url"] == "http://a.example/?b=1&a=2"
    assert link["canonical_url"] == "http://a.example/?a=2&b=1"


def test_of_submissions_with_the_same_score_the_earliest_gives_the_address(merge: Merge) -> None:
    late = post(1, "http://a.example/", created_utc=NOVEMBER_2017 + 5)
    early = post(2, "https://a.example/", created_utc=NOVEMBER_2017)
    (link,) = merge([late, early])
    assert link["url"] == "https://a.example/" and link["submissions"] == ["p2", "p1"]


@pytest.mark.parametrize(("rule", "kept"), [("max", ["b"]), ("sum", ["a", "b"])])
def test_karma_is_the_highest_or_the_sum(
    merge: Merge, rule: Literal["max", "sum"], kept: list[str]
) -> None:
    dumps = [post(1, "http://a.example/", score=2), post(2, "http://b.example/", score=3)]
    again = [post(3, "http://a.example/", score=2), post(4, "http://c.example/", score=-5)]
    found = merge(dumps, again, score_rule=rule)
    assert sorted(link["host"][0] for link in found) == kept
    poor = pq.read_table(merge.rejected).to_pylist()
    expected = {"max": ["p1", "p3", "p4"], "sum": ["p4"]}[rule]
    assert [row["submission"] for row in poor] == expected
    assert {row["reason"] for row in poor} == {"score"}
    assert merge.statistics["submissions"] == 4
    assert merge.statistics["rejected"] == {"score": len(expected)}


def test_a_submission_of_two_dumps_counts_once_with_its_highest_score(merge: Merge) -> None:
    earlier = [post(1, "http://a.example/", score=2), post(2, "http://a.example/", score=1)]
    later = [post(1, "http://a.example/", score=5)]
    (link,) = merge(earlier, later, score_rule="sum")
    assert (link["score"], link["submissions"]) == (6, ["p1", "p2"])
    assert merge.statistics["repeated"] == 1


def test_the_order_of_the_dumps_does_not_matter(merge: Merge) -> None:
    chance = random.Random(0)
    posts = [
        post(
            chance.randrange(300),
            f"http{chance.choice(('', 's'))}://{chance.choice(('', 'www.'))}a.example/{n % 40}",
            score=chance.randrange(9),
            created_utc=NOVEMBER_2017 + chance.randrange(3),
        )
        for n in range(600)
    ]
    dumps = [posts[:200], posts[200:400], posts[400:]]
    merge(*dumps, score_rule="sum")
    first = merge.output.read_bytes(), merge.rejected.read_bytes()
    merge(*dumps[::-1], score_rule="sum")
    assert (merge.output.read_bytes(), merge.rejected.read_bytes()) == first


def test_the_shards_together_are_all_links_in_the_order_of_their_ids(merge: Merge) -> None:
    posts = [post(n, f"http://site{n % 60}.example/{n % 150}", score=n % 7) for n in range(300)]
    whole = merge(posts, shard=0)
    tables = merge.tables(posts[:100], posts[100:], shards=3)
    parts = []
    for shard in range(3):
        output = merge.folder / f"shard-{shard}.parquet"
        merge_links(tables, output=output, rejected=merge.rejected, shard=shard)
        parts.append(pq.read_table(output).to_pylist())
        assert {link["shard"] for link in parts[-1]} == {shard}
    joined = sorted((link for part in parts for link in part), key=lambda link: link["url_id"])
    assert [link | {"shard": 0} for link in joined] == whole
    assert [link["url_id"] for link in whole] == sorted(link["url_id"] for link in whole)


def test_a_shard_without_links_gives_empty_tables(merge: Merge) -> None:
    assert merge([post(1, "http://a.example/")], shard=5) == []
    assert pq.read_schema(merge.output).equals(stage.LINKS)
    assert pq.read_schema(merge.rejected).equals(stage.REJECTED)


def test_a_table_of_something_else_is_named(merge: Merge) -> None:
    pq.write_table(pa.table({"url": ["http://a.example/"]}), merge.folder / "other.parquet")
    options: dict[str, Any] = {"output": merge.output, "rejected": merge.rejected, "shard": 0}
    with pytest.raises(InputError, match=r"other\.parquet: found the columns url \(string\); exp"):
        merge_links([merge.folder / "other.parquet"], **options)
    with pytest.raises(InputError, match=r"none\.parquet: no such file"):
        merge_links([merge.folder / "none.parquet"], **options)


def test_submissions_of_one_name_that_lead_to_two_pages_are_both_kept(tmp_path: Path) -> None:
    lines = [post(1, "http://a.example/x"), post(1, "http://b.example/y")]
    dump = tmp_path / "RS_2017-11"
    dump.write_text("\n".join(map(json.dumps, lines)))
    links(dump, output=tmp_path / "s", rejected=tmp_path / "r")
    merge_links([tmp_path / "s"] * 2, output=tmp_path / "l", rejected=tmp_path / "p", shard=0)
    table = pd.read_parquet(tmp_path / "l")
    assert sorted(table["host"]) == ["a.example", "b.example"]
    assert [len(names) for names in table["submissions"]] == [1, 1]


# Joining


def write(path: Path, numbers: range) -> Path:
    schema = pa.schema({"n": pa.int64(), "s": pa.list_(pa.string())})
    columns = {"n": list(numbers), "s": [[str(n)] for n in numbers]}
    pq.write_table(pa.table(columns, schema), path)
    return path


def test_tables_are_joined_in_the_order_given_and_in_row_groups_of_one_size(
    tmp_path: Path,
) -> None:
    parts = [range(5000), range(0), range(5000, 5010), range(5010, 9000)]
    tables = [write(tmp_path / f"{n}.parquet", part) for n, part in enumerate(parts)]
    concat(tables, output=tmp_path / "all.parquet")
    assert pq.read_table(tmp_path / "all.parquet")["n"].to_pylist() == list(range(9000))
    metadata = pq.ParquetFile(tmp_path / "all.parquet").metadata
    rows = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert set(rows[:-1]) == {GROUP_ROWS} and sum(rows) == 9000

    concat([write(tmp_path / "one.parquet", range(9000))], output=tmp_path / "same.parquet")
    assert (tmp_path / "same.parquet").read_bytes() == (tmp_path / "all.parquet").read_bytes()


def test_an_empty_cell_and_a_damaged_table_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": ["a", "b", None]}), path, row_group_size=2)
    with pytest.raises(InputError, match=r"t\.parquet: row 3: text is empty"):
        list(read_batches(path, ["text"]))
    assert len(list(read_batches(path, ["text"], nullable=["text"]))) == 2
    pq.write_table(pa.table({"n": list(range(10_000))}), path)
    data = bytearray(path.read_bytes())
    data[100:400] = bytes(300)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"t\.parquet: damaged after row 0: "):
        list(read_batches(path, ["n"]))


def test_tables_with_empty_cells_are_joined(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["a", None], "line": [None, "b"]}), tmp_path / "t.parquet")
    concat([tmp_path / "t.parquet"] * 2, output=tmp_path / "all.parquet")
    assert pq.read_table(tmp_path / "all.parquet")["url"].to_pylist() == ["a", None, "a", None]


def test_tables_that_differ_in_a_column_are_not_joined(tmp_path: Path) -> None:
    one = write(tmp_path / "one.parquet", range(3))
    pq.write_table(pa.table({"n": ["a"], "s": [["b"]]}), tmp_path / "other.parquet")
    found = r"other\.parquet: found the columns n \(string\), s \(.*\); expected n \(int64\)"
    with pytest.raises(InputError, match=found):
        concat([one, tmp_path / "other.parquet"], output=tmp_path / "all.parquet")
    assert not (tmp_path / "all.parquet").exists()
    with pytest.raises(InputError, match="no tables"):
        concat([], output=tmp_path / "all.parquet")
