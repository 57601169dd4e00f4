"""Links: which submissions become pages, and which addresses are one page."""

import json

import pandas as pd
import pytest
from backports import zstd

from scaling_laws.corpus.links import links
from scaling_laws.corpus.urls import identity, normalise
from scaling_laws.errors import InputError

NOVEMBER_2017 = 1_510_000_000


def post(number, url, score=10, **others):
    return {
        "id": f"p{number}",
        "url": url,
        "score": score,
        "created_utc": NOVEMBER_2017 + number,
        "subreddit": "news",
        "is_self": False,
        "over_18": False,
    } | others


def write_dump(path, posts):
    lines = [json.dumps(p) if isinstance(p, dict) else p for p in posts]
    path.write_bytes(zstd.compress("\n".join(lines).encode()))
    return path


@pytest.fixture
def run(tmp_path):
    def run(posts, **options):
        dump = write_dump(tmp_path / "RS_2017-11.zst", posts)
        links([dump], output=tmp_path / "l.parquet", rejected=tmp_path / "r.parquet", **options)
        return pd.read_parquet(tmp_path / "l.parquet"), pd.read_parquet(tmp_path / "r.parquet")

    return run


@pytest.mark.parametrize(
    ("spelling", "normal"),
    [
        ("HTTP://Example.COM:80/a", "http://example.com/a"),
        ("http://example.com", "http://example.com/"),
        ("http://example.com/a?b=1&a=2#part", "http://example.com/a?a=2&b=1"),
        ("http://example.com/a?utm_source=x&id=7", "http://example.com/a?id=7"),
        ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
    ],
)
def test_spellings_of_an_address_are_made_one(spelling, normal):
    assert normalise(spelling) == normal
    assert normalise(normal) == normal


@pytest.mark.parametrize("address", ["", "ftp://a.example/", "/r/news", "http://", "http://a:b:c/"])
def test_what_is_no_web_address_is_refused(address):
    with pytest.raises(ValueError):
        normalise(address)


def test_scheme_and_www_do_not_make_another_page():
    assert identity("https://www.a.example/x") == identity("http://a.example/x")
    assert identity("http://a.example/x") != identity("http://a.example/X")


def test_submissions_of_one_page_are_one_link_with_the_best_score_and_its_address(run):
    table, _ = run(
        [
            post(1, "https://www.a.example/x?utm_medium=y", score=4),
            post(2, "http://a.example/x", score=9),
            post(3, "http://a.example/x#top", score=1),
        ]
    )
    (link,) = table.itertuples()
    assert (link.url, link.score) == ("http://a.example/x", 9)
    assert sorted(link.submissions) == ["p1", "p2", "p3"]
    assert link.created_utc == NOVEMBER_2017 + 1


def test_every_submission_is_a_link_or_rejected_with_its_reason(run):
    table, rejected = run(
        [
            post(1, "http://a.example/x"),
            post(2, "http://b.example/x", score=2),
            post(3, "http://c.example/", is_self=True),
            post(4, "http://d.example/", over_18=True),
            post(5, "http://i.imgur.com/a"),
            post(6, "http://e.example/a.PDF"),
            post(7, "https://www.reddit.com/r/a"),
            post(8, "https://en.wikipedia.org/wiki/A"),
            post(9, "http://f.example/", created_utc=1_541_030_400),  # 2018-11-01
            '{"id": "p10", ',
            {"id": "p11", "url": "http://g.example/"},
            post(12, "not an address"),
            "[1]",
        ]
    )
    assert list(table["url"]) == ["http://a.example/x"]
    reasons = dict(zip(rejected["submission"], rejected["reason"], strict=True))
    assert reasons == {
        "p2": "score",
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
    }


def test_a_shard_owns_all_hosts_of_a_domain(run):
    posts = [post(n, f"http://{host}.site{n}.example/") for n in range(40) for host in ("a", "b")]
    table, _ = run(posts, shards=4)
    table["domain"] = table["host"].str.split(".").str[1]
    assert table.groupby("domain")["shard"].nunique().eq(1).all()
    assert table["shard"].nunique() == 4


def test_no_submission_left_gives_an_empty_table(run):
    table, rejected = run([post(1, "http://a.example/", score=0)])
    assert len(table) == 0 and len(rejected) == 1


def test_a_truncated_dump_is_told_with_what_was_read(tmp_path):
    dump = write_dump(tmp_path / "d.zst", [post(n, f"http://a.example/{n}") for n in range(9000)])
    dump.write_bytes(dump.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"d\.zst: not a whole zstd file; \d+ lines were read"):
        links([dump], output=tmp_path / "l", rejected=tmp_path / "r")
    assert not (tmp_path / "l").exists()


def test_a_dump_that_is_no_archive_or_absent_is_told(tmp_path):
    (tmp_path / "text.zst").write_text("not compressed")
    with pytest.raises(InputError, match=r"text\.zst: not a whole zstd file; 0 lines"):
        links([tmp_path / "text.zst"], output=tmp_path / "l", rejected=tmp_path / "r")
    with pytest.raises(InputError, match=r"none\.zst: no such dump"):
        links([tmp_path / "none.zst"], output=tmp_path / "l", rejected=tmp_path / "r")
