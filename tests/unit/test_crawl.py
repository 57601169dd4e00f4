"""A crawl keeps every page it may have, and says what became of every other link."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from OpenSSL import SSL
from scrapy.exceptions import CannotResolveHostError, DownloadFailedError, IgnoreRequest
from twisted.internet.error import DNSLookupError
from warcio.archiveiterator import ArchiveIterator

from scaling_laws.corpus.crawl import OUTCOMES, PublicResolver, is_public, outcome_of_error
from scaling_laws.sample.build import SITE
from scaling_laws.sample.faults import faulty_links, faulty_pages, robots
from scaling_laws.sample.pages import Page
from scaling_laws.sample.server import SLOW_SECONDS

MAXIMUM_BYTES = 200_000
TEXT = b"<html><body><p>" + b"The harbour froze over in the night. " * 20 + b"</p></body></html>"

# More at once than wait for robots.txt in turn.
FORBIDDEN = [Page(f"http://news.example/private/{number}.html", TEXT) for number in range(24)]

PAGES = [
    *FORBIDDEN,
    Page("http://news.example/a.html", TEXT),
    Page(
        "http://news.example/caf%C3%A9?b=2&a=1",
        "<p>\u201cBonjour\u201d</p>".encode("windows-1252"),
        content_type="text/html; charset=windows-1252",
    ),
    Page("http://news.example/x.html", TEXT, content_type="Application/XHTML+XML"),
    Page("http://news.example/empty.html", b""),
    Page("http://news.example/grows.html", b" " * (MAXIMUM_BYTES + 1)),
    Page("http://news.example/plain", TEXT, content_type="text/plain"),
    Page("http://news.example/untyped", TEXT, content_type=""),
    Page("http://news.example/none.html", b"", status=204),
    Page("http://news.example/inside.html", b"", 302, location="http://127.0.0.1:1/secret"),
]

EXPECTED = {
    **{link.url: link.outcome for link in faulty_links()},
    **{page.url: "robots" for page in FORBIDDEN},
    "http://news.example/a.html": "ok",
    "http://news.example/caf%C3%A9?a=1&b=2": "ok",
    "http://news.example/x.html": "ok",
    "http://news.example/empty.html": "ok",
    "http://news.example/grows.html": "too_large",
    "http://news.example/plain": "wrong_type",
    "http://news.example/untyped": "wrong_type",
    "http://news.example/none.html": "http_error",
    "http://news.example/inside.html": "blocked_address",
    "http://news.example/removed.html": "http_error",
    "https://news.example/a.html": "connection",
}


def url_id(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def write_links(path: Path, urls: Sequence[str], shard: int = 0) -> Path:
    rows = {"url_id": [url_id(url) for url in urls], "url": urls, "shard": [shard] * len(urls)}
    pd.DataFrame(rows).to_parquet(path)
    return path


def write_site(path: Path, pages: Sequence[Page]) -> Path:
    rows = [{name: asdict(page)[name] for name in SITE.names} for page in pages]
    pq.write_table(pa.Table.from_pylist(rows, schema=SITE), path)
    return path


def command(folder: Path, links: Path, *options: str) -> list[str]:
    files = ("--warc", str(folder / "0.warc.gz"), "--outcomes", str(folder / "0.parquet"))
    program = (sys.executable, "-c", "from scaling_laws.cli import main; main()", "crawl")
    return [*program, str(links), *files, "--user-agent", "test/1.0", *options]


def run(folder: Path, links: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Crawl in another process, since Twisted's reactor runs once in each."""
    line = command(folder, links, *options)
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def records(warc: Path) -> dict[str, tuple[str, str, dict[str, str], bytes]]:
    """Return address, status, headers and body of the responses in a WARC file, by url_id."""
    with warc.open("rb") as file:
        return {
            record.rec_headers["X-Url-Id"]: (
                record.rec_headers["WARC-Target-URI"],
                record.http_headers.get_statuscode(),
                {name.lower(): value for name, value in record.http_headers.headers},
                record.content_stream().read(),
            )
            for record in ArchiveIterator(file)
            if record.rec_type == "response"
        }


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("crawl")
    pages = PAGES + faulty_pages()
    site = write_site(folder / "site.parquet", pages + robots(pages))
    links = write_links(folder / "links.parquet", list(EXPECTED))
    started = time.monotonic()
    sample = ("--proxy", "sample", "--site", str(site), "--shard", "0")
    limits = ("--timeout", "1", "--maximum-bytes", str(MAXIMUM_BYTES))
    result = run(folder, links, *sample, *limits)
    assert result.returncode == 0, result.stderr
    return {
        "seconds": time.monotonic() - started,
        "stderr": result.stderr,
        "rows": pd.read_parquet(folder / "0.parquet").set_index("url"),
        "records": records(folder / "0.warc.gz"),
        "files": sorted(path.name for path in folder.iterdir()),
    }


def test_every_link_has_one_row_with_its_outcome(crawled: dict[str, Any]) -> None:
    assert crawled["rows"]["outcome"].to_dict() == EXPECTED
    assert len(crawled["rows"]) == len(EXPECTED)


def test_all_outcomes_of_the_contract_occur() -> None:
    contract = "ok robots http_error timeout too_large wrong_type blocked_address dns tls redirects"
    assert set(EXPECTED.values()) == {*contract.split(), "connection", "truncated"}


def test_the_archive_holds_the_pages_that_are_ok_and_no_other(crawled: dict[str, Any]) -> None:
    ok = [url for url, outcome in EXPECTED.items() if outcome == "ok"]
    assert set(crawled["records"]) == {url_id(url) for url in ok}


def test_a_page_is_kept_without_transfer_encodings(crawled: dict[str, Any]) -> None:
    address, status, headers, body = crawled["records"][url_id("http://news.example/a.html")]
    assert (address, status, body) == ("http://news.example/a.html", "200", TEXT)
    assert headers["content-length"] == str(len(TEXT))
    assert not {"content-encoding", "transfer-encoding"} & set(headers)


def test_the_charset_of_the_header_is_kept(crawled: dict[str, Any]) -> None:
    page = crawled["records"][url_id("http://news.example/caf%C3%A9?a=1&b=2")]
    assert page[2]["content-type"] == "text/html; charset=windows-1252"
    assert page[3].decode("windows-1252") == "<p>\u201cBonjour\u201d</p>"


def test_two_links_to_one_page_are_both_kept(crawled: dict[str, Any]) -> None:
    moved, chained = (f"http://faults.example/{name}" for name in ("moved.html", "chain/1.html"))
    rows = crawled["rows"].loc[[moved, chained]]
    assert list(rows["final_url"]) == ["http://faults.example/story.html"] * 2
    assert crawled["records"][url_id(moved)][3] == crawled["records"][url_id(chained)][3]


def test_failures_that_may_pass_are_tried_again_and_others_not(crawled: dict[str, Any]) -> None:
    attempts = crawled["rows"]["attempts"]
    for again in ("busy-once.html", "slow.html", "truncated.html", "closed.html", "broken.html"):
        assert attempts[f"http://faults.example/{again}"] == 2
    for once in ("gone.html", "oversized.html", "data.json", "private/minutes.html", "moved.html"):
        assert attempts[f"http://faults.example/{once}"] == 1


def test_a_slow_page_does_not_outlive_the_crawl(crawled: dict[str, Any]) -> None:
    assert crawled["seconds"] < SLOW_SECONDS


def test_the_log_has_the_result_and_no_traceback(crawled: dict[str, Any]) -> None:
    assert "links: " + str(len(EXPECTED)) in crawled["stderr"]
    assert "Traceback" not in crawled["stderr"]
    assert "Crawled (" not in crawled["stderr"]


def test_nothing_partial_is_left(crawled: dict[str, Any]) -> None:
    assert crawled["files"] == ["0.parquet", "0.warc.gz", "links.parquet", "site.parquet"]


def test_a_shard_without_links_gives_whole_empty_files(tmp_path: Path) -> None:
    links = write_links(tmp_path / "links.parquet", ["http://news.example/a.html"], shard=1)
    result = run(tmp_path, links, "--shard", "0")
    assert result.returncode == 0, result.stderr
    assert pq.read_schema(tmp_path / "0.parquet").equals(OUTCOMES)
    assert len(pd.read_parquet(tmp_path / "0.parquet")) == 0
    assert records(tmp_path / "0.warc.gz") == {}


def test_without_a_proxy_private_addresses_are_not_asked(tmp_path: Path) -> None:
    urls = ["http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/", "http://0x7f.1/"]
    links = write_links(tmp_path / "links.parquet", urls)
    result = run(tmp_path, links, "--shard", "0", "--timeout", "2")
    assert result.returncode == 0, result.stderr
    rows = pd.read_parquet(tmp_path / "0.parquet")
    assert list(rows["outcome"]) == ["blocked_address"] * len(urls)


def test_a_crawl_that_is_stopped_leaves_no_file(tmp_path: Path) -> None:
    slow = [page for page in faulty_pages() if page.fault == "slow"]
    site = write_site(tmp_path / "site.parquet", slow)
    links = write_links(tmp_path / "links.parquet", [f"{slow[0].url}?{n}" for n in range(40)])
    write_site(site, [Page(f"{slow[0].url}?{n}", TEXT, fault="slow") for n in range(40)])
    options = ("--shard", "0", "--proxy", "sample", "--site", str(site), "--timeout", "2")
    line = command(tmp_path, links, *options, "--concurrency", "2")
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".partial-*-0.warc.gz")):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    os.kill(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1, stderr
    assert "of 40 links; nothing was written" in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["links.parquet", "site.parquet"]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({"url": ["http://news.example/"]}, (), "expected a Parquet file with the columns url_id"),
        ({"url_id": ["a"], "url": ["ftp://x/"], "shard": [0]}, (), "found url 'ftp://x/'"),
        ({"url_id": ["a"] * 2, "url": ["http://x/"] * 2, "shard": [0] * 2}, (), "url_id a stands"),
        ({"url_id": [], "url": [], "shard": []}, ("--proxy", "sample"), "give --site FILE"),
        ({"url_id": [], "url": [], "shard": []}, ("--proxy", "localhost"), "found 'localhost'"),
        (None, (), "links.parquet is missing"),
    ],
)
def test_an_input_that_cannot_be_used_is_named(
    tmp_path: Path, rows: dict[str, Any] | None, options: tuple[str, ...], message: str
) -> None:
    links = tmp_path / "links.parquet"
    if rows is not None:
        pd.DataFrame(rows).to_parquet(links)
    result = run(tmp_path, links, "--shard", "0", *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "0.warc.gz").exists()


PRIVATE = (
    "127.0.0.1 10.1.2.3 169.254.169.254 0.0.0.0 224.0.0.1 ::1 ::ffff:10.0.0.1 fe80::1 "
    "0x7f.1 2130706433 localhost a.localhost"
)


@pytest.mark.parametrize("host", PRIVATE.split())
def test_addresses_of_private_networks_are_not_public(host: str) -> None:
    assert not is_public(host)


@pytest.mark.parametrize("host", ["news.example", "93.184.216.34", "2606:4700::1111", "10.example"])
def test_names_and_other_addresses_are_public(host: str) -> None:
    assert is_public(host)


def test_a_name_with_a_private_address_is_blocked_and_not_unknown() -> None:
    resolver = object.__new__(PublicResolver)
    assert resolver._public("93.184.216.34", "public.example") == "93.184.216.34"
    with pytest.raises(DNSLookupError):
        resolver._public("10.0.0.7", "intranet.example")
    unresolved = CannotResolveHostError()
    assert outcome_of_error(unresolved, "intranet.example") == "blocked_address"
    assert outcome_of_error(unresolved, "nowhere.example") == "dns"


def test_a_failed_handshake_is_told_from_a_lost_connection() -> None:
    class Reason:
        value = SSL.Error()

    cause = Exception()
    cause.reasons = [Reason]  # type: ignore[attr-defined]
    failure = DownloadFailedError()
    assert outcome_of_error(failure, "news.example") == "connection"
    failure.__cause__ = cause
    assert outcome_of_error(failure, "news.example") == "tls"


def test_an_unknown_reason_for_ignoring_a_request_is_not_taken_for_robots() -> None:
    assert outcome_of_error(IgnoreRequest("something new"), "news.example") == "connection"
