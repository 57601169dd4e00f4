"""A crawl keeps every page it may have, and says what became of every other link."""

from __future__ import annotations

import asyncio
import errno
import gzip
import hashlib
import io
import multiprocessing
import re
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter
from yarl import URL

from scaling_laws.corpus.crawl import fetch
from scaling_laws.corpus.crawl.addresses import BlockedAddressError, Gate, literal, parse
from scaling_laws.corpus.crawl.archives import INDEX, index_archive
from scaling_laws.corpus.crawl.content import BodyError, dechunked, decoded
from scaling_laws.corpus.crawl.crawl import named_agent
from scaling_laws.corpus.crawl.fetch import Answer
from scaling_laws.corpus.crawl.frontier import Frontier, Job
from scaling_laws.corpus.crawl.journal import OUTCOMES, Row, open_journal, write_outputs
from scaling_laws.corpus.crawl.outcomes import outcomes
from scaling_laws.corpus.crawl.politeness import FIRST_DELAY, Pace, shared_hosts
from scaling_laws.corpus.crawl.robots import MAXIMUM_BYTES as ROBOTS_BYTES
from scaling_laws.corpus.crawl.robots import Rules, rules
from scaling_laws.corpus.crawl.warc import page_record, read_conversions, read_pages, read_records
from scaling_laws.corpus.forgotten import Forgotten
from scaling_laws.corpus.links.urls import identity, normalise
from scaling_laws.corpus.links.urls import url_id as page_id
from scaling_laws.errors import InputError
from scaling_laws.sample.build import SITE
from scaling_laws.sample.faults import faulty_links, faulty_pages, robots
from scaling_laws.sample.pages import Page
from scaling_laws.sample.server import SLOW_SECONDS

CONTACT = "https://scaling-laws.org/crawl"
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


def write_links(path: Path, urls: Sequence[str]) -> Path:
    rows = {"url_id": [url_id(url) for url in urls], "url": urls}
    pd.DataFrame(rows, dtype="str").to_parquet(path)
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
    """Crawl as a user does."""
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
    sample = ("--proxy", "sample", "--site", str(site))
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
    lines, one, other, *outputs = crawled["files"]
    assert outputs == ["0.parquet", "0.warc.gz", "links.parquet", "site.parquet"]
    assert lines == ".0.warc.gz.journal"
    for records in (one, other):
        assert re.fullmatch(r"\.0\.warc\.gz\.journal\.[0-9a-f]{8}\.warc", records)


def test_every_failure_has_its_reason_in_words(crawled: dict[str, Any]) -> None:
    rows = crawled["rows"]
    assert (rows["detail"].isna() == (rows["outcome"] == "ok")).all()
    assert rows["detail"]["http://faults.example/gone.html"] == "HTTP 410"
    assert rows["detail"]["http://faults.example/data.json"] == "application/json"


def test_pages_come_in_the_order_of_their_names(crawled: dict[str, Any]) -> None:
    assert list(crawled["records"]) == sorted(crawled["records"])


def test_a_shard_without_links_gives_whole_empty_files(tmp_path: Path) -> None:
    result = run(tmp_path, write_links(tmp_path / "links.parquet", []), "--contact", CONTACT)
    assert result.returncode == 0, result.stderr
    assert pq.read_schema(tmp_path / "0.parquet").equals(OUTCOMES)
    assert len(pd.read_parquet(tmp_path / "0.parquet")) == 0
    assert records(tmp_path / "0.warc.gz") == {}


def test_without_a_proxy_private_addresses_are_not_asked(tmp_path: Path) -> None:
    urls = ["http://127.0.0.1:9/", "http://localhost:9/", "http://[::1]:9/", "http://0x7f.1/"]
    links = write_links(tmp_path / "links.parquet", urls)
    result = run(tmp_path, links, "--timeout", "2", "--contact", CONTACT)
    assert result.returncode == 0, result.stderr
    rows = pd.read_parquet(tmp_path / "0.parquet")
    assert list(rows["outcome"]) == ["blocked_address"] * len(urls)


@pytest.fixture
def stopped(tmp_path: Path) -> tuple[Path, list[str]]:
    """Return the folder of a crawl that was stopped after its quick pages, and its command."""
    quick = [Page(f"http://quick.example/{n}.html", TEXT) for n in range(5)]
    slow = [Page(f"http://slow.example/{n}.html", TEXT, fault="slow") for n in range(2)]
    pages = [*quick, *slow]
    site = write_site(tmp_path / "site.parquet", pages + robots(pages))
    links = write_links(tmp_path / "links.parquet", [page.url for page in pages])
    options = ("--proxy", "sample", "--site", str(site), "--timeout", "3", "--retries", "0")
    line = command(tmp_path, links, *options)
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / ".0.warc.gz.journal"
    while not journal.exists() or journal.read_bytes().count(b"\n") < 1 + len(quick):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1, stderr
    assert "stopped with 5 of 7 links done; running it again continues" in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "0.warc.gz").exists() and not (tmp_path / "0.parquet").exists()
    return tmp_path, line


def test_a_crawl_that_was_stopped_continues(stopped: tuple[Path, list[str]]) -> None:
    folder, line = stopped
    result = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "resumed: 5" in result.stderr
    assert len(records(folder / "0.warc.gz")) == 5
    outcomes_found = pd.read_parquet(folder / "0.parquet")["outcome"].value_counts().to_dict()
    assert outcomes_found == {"ok": 5, "timeout": 2}
    names = {"0.parquet", "0.warc.gz", ".0.warc.gz.journal", "links.parquet", "site.parquet"}
    hidden = [folder / name for name in {path.name for path in folder.iterdir()} - names]
    assert sorted(path.samefile(folder / "0.warc.gz") for path in hidden) == [False, True]


def test_where_there_are_no_hard_links_a_crawl_ends_and_a_later_one_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported", str(target))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    warc, settings = tmp_path / "0.warc.gz", {"user_agent": "a"}
    page = Row("0", "http://a.example/", "", "ok", None, 200, None, 4, 1, datetime.now(UTC), 0.0)
    with open_journal(warc, settings, Forgotten()) as journal:
        place = journal.add(page, gzip.compress(b"page"))
        assert list(write_outputs(journal, [place], warc, tmp_path / "0.parquet")) == [page]
    assert gzip.decompress(warc.read_bytes()).endswith(b"page")
    assert "Operation not supported" in caplog.text and "fetch all pages again" in caplog.text
    with open_journal(warc, settings, Forgotten()) as journal:
        assert list(journal.finished()) == []


def test_with_other_settings_a_crawl_starts_anew(stopped: tuple[Path, list[str]]) -> None:
    folder, line = stopped
    line += ["--redirects", "4"]
    result = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "of other settings or damaged; dropped" in result.stderr
    assert "resumed: 0" in result.stderr
    assert len(records(folder / "0.warc.gz")) == 5


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ({"url": ["http://news.example/"]}, (), "no column url_id"),
        ({"url_id": ["a"], "url": ["ftp://x/"]}, (), "found url 'ftp://x/'"),
        ({"url_id": ["a"], "url": [None]}, (), "found url None"),
        ({"url_id": [None], "url": ["http://x/"]}, (), "a row has no url_id"),
        ({"url_id": ["a"] * 2, "url": ["http://x/"] * 2}, (), "url_id a stands on two rows"),
        ({"url_id": [], "url": []}, ("--proxy", "sample"), "give --site FILE"),
        ({"url_id": [], "url": []}, ("--proxy", "localhost"), "--proxy localhost: Input"),
        ({"url_id": [], "url": []}, ("--allowed-networks", "10.0.0.0/99"), "--allowed-networks"),
        (None, (), "links.parquet is missing"),
    ],
)
def test_an_input_that_cannot_be_used_is_named(
    tmp_path: Path, rows: dict[str, Any] | None, options: tuple[str, ...], message: str
) -> None:
    links = tmp_path / "links.parquet"
    if rows is not None:
        pd.DataFrame(rows, dtype="str").to_parquet(links)
    result = run(tmp_path, links, "--contact", CONTACT, *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "0.warc.gz").exists()


@pytest.mark.parametrize(
    "contact",
    [
        *(None, "", "me", "me@host", "http://", "http://site", "ftp://site.org", "me@x.org\n"),
        *("me@site.example", "https://www.site.test/crawl", "me@x.invalid", "http://a.localhost"),
        *("https://site.EXAMPLE:8080/", "me@example", "https://user@site.example/"),
    ],
)
def test_the_live_web_is_not_crawled_without_a_contact(contact: str | None) -> None:
    with pytest.raises(InputError, match=r"crawl\.contact"):
        named_agent("bot/1.0", contact, live=True)


@pytest.mark.parametrize("contact", ["me@site.org", "https://site.org/bot", "http://a.b.co.uk:80"])
def test_servers_see_the_contact(contact: str) -> None:
    assert named_agent("bot/1.0", contact, live=True) == f"bot/1.0 (+{contact})"


def test_the_sample_needs_no_contact() -> None:
    assert named_agent("bot/1.0", None, live=False) == "bot/1.0"


PRIVATE = (
    "127.0.0.1 10.1.2.3 169.254.169.254 0.0.0.0 224.0.0.1 100.64.1.1 255.255.255.255 ::1 :: "
    "::ffff:10.0.0.1 ::7f00:1 64:ff9b::a00:1 64:ff9b:1::1 2002:7f00:1:: fe80::1 fd00::8 fec0::1 "
    "ff02::1 2001:db8::1 0x7f.1 2130706433 017700000001 localhost a.localhost LOCALHOST. 127.1"
)


@pytest.mark.parametrize("host", PRIVATE.split())
def test_addresses_of_private_networks_are_not_open(host: str) -> None:
    address = literal(host)
    assert address is not None
    assert not Gate().is_open(address)


@pytest.mark.parametrize("host", ["93.184.216.34", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses_are_open(host: str) -> None:
    address = literal(host)
    assert address is not None
    assert Gate().is_open(address)


@pytest.mark.parametrize("host", ["news.example", "10.example", "localhost.example", "1.2.3.4.com"])
def test_names_are_no_addresses(host: str) -> None:
    assert literal(host) is None


def test_a_network_may_be_allowed() -> None:
    gate = Gate([ip_network("127.8.0.0/16")])
    gate.check(URL("http://127.8.0.1/"))
    gate.check(URL("http://[::ffff:127.8.0.1]/"))
    for url in ("http://127.0.0.1/", "http://[::1]/", "file:///etc/passwd"):
        with pytest.raises(BlockedAddressError):
            gate.check(URL(url))


def test_a_request_is_noted_once_the_server_can_see_it():
    seen, noted = threading.Event(), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.set()
            self.send_error(404)

        def log_message(self, *_):
            pass

    async def ask(port):
        gate = Gate([ip_network("127.0.0.0/8")])
        async with fetch.open_client(gate, None, "tests", 20) as client:
            # Nothing else runs meanwhile: a request that is not out yet would stay here.
            return await client.page(
                URL(f"http://127.0.0.1:{port}/"), 1000, lambda: noted.append(seen.wait(5))
            )

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert asyncio.run(ask(server.server_port)).status == 404
    finally:
        server.shutdown()
        server.server_close()
    assert noted == [True]


@pytest.mark.parametrize(
    ("url", "base", "expected"),
    [
        ("http://user:secret@a.example/x?q=\u00e9#f", None, "http://a.example/x?q=%C3%A9"),
        ("http://b\u00fccher.example/ a", None, "http://xn--bcher-kva.example/%20a"),
        ("../z?q", "http://a.example/x/y", "http://a.example/z?q"),
        ("//b.example/", "https://a.example/x", "https://b.example/"),
        ("/caf\udce9", "http://a.example/", "http://a.example/caf%E9"),
    ],
)
def test_an_address_is_made_what_is_asked_for(url: str, base: str | None, expected: str) -> None:
    assert str(parse(url, URL(base) if base else None)) == expected


@pytest.mark.parametrize("url", ["http://", "http://a..b/", "http://[1/", "http://a:99999/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        parse(url)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw", "members", "twice", ""])
def test_content_encodings_are_undone(coding: str) -> None:
    packer = zlib.compressobj(wbits=-15)
    sent = {
        "gzip": ("gzip", gzip.compress(TEXT)),
        "deflate": ("deflate", zlib.compress(TEXT)),
        "raw": ("deflate", packer.compress(TEXT) + packer.flush()),
        "members": ("x-gzip", gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:]) + b"\0\0"),
        "twice": ("Deflate, GZIP", gzip.compress(zlib.compress(TEXT))),
        "": ("", TEXT),
    }
    encoding, body = sent[coding]
    assert decoded(body, encoding, len(TEXT)) == TEXT
    assert decoded(b"", encoding, 10) == b""


@pytest.mark.parametrize(
    ("encoding", "body", "outcome"),
    [
        ("gzip", gzip.compress(bytes(2**24)), "too_large"),
        ("gzip, gzip", gzip.compress(gzip.compress(bytes(2**24))), "too_large"),
        # Without a time, so that every process of the tests gives the case one name.
        ("gzip", gzip.compress(TEXT, mtime=0)[:-9], "truncated"),
        ("gzip", TEXT, "wrong_type"),
        ("br", b"", "wrong_type"),
    ],
)
def test_a_body_that_cannot_be_had_has_its_outcome(
    encoding: str, body: bytes, outcome: str
) -> None:
    with pytest.raises(BodyError) as error:
        decoded(body, encoding, 2**16)
    assert error.value.outcome == outcome


def test_chunks_are_joined_and_broken_ones_seen() -> None:
    assert dechunked(b"3;name=x\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n") == (
        b"abc0123456789"
    )
    for broken in (b"", b"zz\r\n", b"5\r\nab", b"3\r\nabc\r\n"):
        with pytest.raises(BodyError):
            dechunked(broken)


def robots_txt(text: str) -> Rules:
    return rules(Answer("ok", status=200, body=text.encode()), "scaling-laws/0.1 (x)", 60.0)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("User-agent: *\nDisallow: /", False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: Scaling-Laws\nAllow: /", True),
        ("User-agent: *\nAllow: /\n\nUser-agent: scaling-laws # us\nDisallow: /a", False),
        ("User-agent: *\nAllow: /\n\nUser-agent: scaling-laws/0.1\nDisallow: /a", False),
        ("User-agent: scaling\nAllow: /\n\nUser-agent: *\nDisallow: /", False),
        ("User-agent: scaling-laws-x\nAllow: /\n\nUser-agent: *\nDisallow: /", False),
        ("User-agent: scaling\nDisallow: /\n\nUser-agent: *\nAllow: /", True),
        ("\ufeffUser-agent: *\r\nDisallow: /*.html$", False),
        ("<html>Not found</html>", True),
        ("", True),
    ],
)
def test_the_rules_are_those_of_our_name(text: str, allowed: bool) -> None:
    assert robots_txt(text).allows(URL("http://a.example/a/b.html")) is allowed


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer("http_error", "HTTP 404", 404), "ok"),
        (Answer("http_error", "HTTP 403", 403), "ok"),
        (Answer("redirects", "more than 5 redirects", 301), "ok"),
        (Answer("http_error", "HTTP 500", 500), "robots"),
        (Answer("http_error", "HTTP 999", 999), "robots"),
        (Answer("timeout", "no whole answer in 5 s"), "robots"),
        (Answer("dns", "the name has no address"), "dns"),
        (Answer("blocked_address", "not a public address", 302), "blocked_address"),
    ],
)
def test_an_answer_that_is_no_file_has_its_rules(answer: Answer, outcome: str) -> None:
    found = rules(answer, "bot", 60.0)
    assert found.outcome == outcome
    assert found.allows(URL("http://a.example/"))
    assert outcome == "ok" or found.detail == f"robots.txt: {answer.detail}"


def test_half_a_rule_at_the_limit_of_robots_txt_is_left_out() -> None:
    start = "User-agent: *\nDisallow: /a\n"
    cut = start + "#" * (ROBOTS_BYTES - len(start) - len("\nDisallow: /")) + "\nDisallow: /"
    found = robots_txt(cut)
    assert len(cut) == ROBOTS_BYTES
    assert not found.allows(URL("http://a.example/a"))
    assert found.allows(URL("http://a.example/b"))


def test_a_crawl_delay_is_kept_and_one_too_long_is_a_refusal() -> None:
    assert robots_txt("User-agent: *\nCrawl-delay: 2.5").delay == 2.5
    assert robots_txt("User-agent: *\nCrawl-delay: nan").delay == 0.0
    found = robots_txt("User-agent: *\nCrawl-delay: 86400")
    assert found.outcome == "robots"
    assert found.detail == "Crawl-delay of 86400 s is over crawl.maximum_delay"


def test_a_busy_host_is_asked_half_as_often_and_recovers() -> None:
    pace = Pace(0.1)
    delays = []
    for too_much in (True, True, True, False, False, False):
        pace.adapt(time.monotonic(), too_much, maximum=1.5)
        delays.append(pace.delay)
    assert delays == [FIRST_DELAY, 1.0, 1.5, 0.75, 0.375, 0.1]


def test_failures_of_requests_that_were_under_way_together_count_once() -> None:
    pace = Pace(0.0)
    began = time.monotonic()
    for _ in range(8):
        pace.adapt(began, True, maximum=60.0)
    assert pace.delay == FIRST_DELAY


def test_retry_after_is_read_in_seconds_and_as_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=90)
    assert fetch._seconds("120") == 120
    assert fetch._seconds(format_datetime(later, usegmt=True)) == pytest.approx(90, abs=2)
    assert fetch._seconds("Mon, 01 Jan 2001 00:00:00 GMT") == 0
    for nothing in (None, "", "soon", "-1"):
        assert fetch._seconds(nothing) is None


def test_a_host_that_has_to_wait_is_passed_over() -> None:
    frontier = Frontier(at_once=1, delay=0.0)
    frontier.add_links("a.example", [0, 1])
    frontier.add_links("b.example", [2])
    taken = frontier.take()
    assert taken is not None
    first, link = taken
    assert link == 0
    first.pace.start(time.monotonic())
    frontier.join(first)
    taken = frontier.take()
    assert taken is not None and taken[1] == 2
    assert frontier.take() is None and frontier.seconds_to_next() is None
    first.pace.end()
    first.pace.pause(30.0)
    frontier.add(Job(URL("http://a.example/again"), 0))
    assert frontier.take() is None
    assert 29 < (frontier.seconds_to_next() or 0) <= 30


def hold_a_place(path: Path, held: Any) -> None:
    with shared_hosts(path, 1) as shared:
        assert shared is not None
        held.send(shared.enter("a.example", 0.0, 60.0))
        time.sleep(60)


def test_a_place_is_free_again_when_its_process_dies(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=hold_a_place, args=(tmp_path / "hosts", there))
    process.start()
    with shared_hosts(tmp_path / "hosts", 1) as shared:
        assert shared is not None
        assert here.recv()[0] is not None
        assert shared.enter("a.example", 0.0, 60.0)[0] is None
        assert shared.enter("b.example", 0.0, 60.0)[0] is not None
        process.kill()
        process.join()
        place, _ = shared.enter("a.example", 0.5, 60.0)
        assert place is not None
        shared.sent("a.example", 0.5)
        shared.leave(place)
        place, wait = shared.enter("a.example", 0.5, 60.0)
        assert place is None and 0.3 < wait <= 0.5


def test_a_time_of_a_clock_that_was_set_back_is_not_waited_for(tmp_path: Path) -> None:
    with shared_hosts(tmp_path / "hosts", 1) as shared:
        assert shared is not None
        shared.postpone("a.example", 1e6)
        assert shared.enter("a.example", 0.0, longest=60.0)[0] is not None
    assert (tmp_path / "hosts").stat().st_blocks * 512 < 2**20


def archive(path: Path, pages: Sequence[tuple[str, dict[str, str], bytes]]) -> Path:
    """Write a WARC file as other crawlers do: with the encodings that came."""
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=path.suffix == ".gz")
        writer.write_record(writer.create_warcinfo_record(path.name, {"software": "other"}))
        for url, headers, body in pages:
            http = StatusAndHeaders("200 OK", list(headers.items()), protocol="HTTP/1.1")
            record = writer.create_warc_record(
                url,
                "response",
                io.BytesIO(body),
                http_headers=http,
                warc_headers_dict={"WARC-Date": "2017-11-05T08:00:00Z"},
            )
            writer.write_record(record)
    return path


HTML = {"Content-Type": "text/html"}
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(TEXT), TEXT)
ARCHIVED = [
    ("http://old.example/a.html", HTML, TEXT),
    ("http://old.example/b.html", {**HTML, "Content-Encoding": "gzip"}, gzip.compress(TEXT)),
    ("http://old.example/c.html", {**HTML, "Transfer-Encoding": "chunked"}, CHUNKED),
    ("http://old.example/d.png", {"Content-Type": "image/png"}, b"\x89PNG"),
    ("http://old.example/big.html", HTML, b" " * (MAXIMUM_BYTES + 1)),
]


@pytest.mark.parametrize("name", ["old.warc.gz", "old.warc"])
def test_pages_of_an_archive_are_not_asked_for(tmp_path: Path, name: str) -> None:
    warc = archive(tmp_path / name, ARCHIVED)
    index = tmp_path / "index.parquet"
    assert index_archive(warc, output=index) == {"responses": 5, "pages": 4}
    assert pq.read_schema(index).equals(INDEX)
    live = Page("http://news.example/a.html", TEXT)
    site = write_site(tmp_path / "site.parquet", [live])
    urls = [*(url for url, _, _ in ARCHIVED), live.url]
    names = [page_id(identity(normalise(url))) for url in urls]
    links = tmp_path / "links.parquet"
    pd.DataFrame({"url_id": names, "url": urls}).to_parquet(links)
    sample = ("--proxy", "sample", "--site", str(site), "--maximum-bytes", str(MAXIMUM_BYTES))
    result = run(tmp_path, links, *sample, "--archives", str(index))
    assert result.returncode == 0, result.stderr
    rows = pd.read_parquet(tmp_path / "0.parquet").set_index("url")
    assert list(rows["outcome"][urls]) == ["ok", "ok", "ok", "dns", "too_large", "ok"]
    assert list(rows["attempts"][urls]) == [0, 0, 0, 1, 0, 1]
    assert set(rows["fetched_at"][urls[:3]]) == {pd.Timestamp("2017-11-05T08:00:00Z")}
    found = records(tmp_path / "0.warc.gz")
    assert [found[each][3] for each in names[:3]] == [TEXT] * 3
    assert [page.body for page in read_pages(tmp_path / "0.warc.gz")] == [TEXT] * 4


def test_an_archive_that_is_not_what_was_indexed_is_named(tmp_path: Path) -> None:
    warc = archive(tmp_path / "old.warc.gz", ARCHIVED[:1])
    index = tmp_path / "index.parquet"
    index_archive(warc, output=index)
    links = write_links(tmp_path / "links.parquet", [])
    options = ("--contact", CONTACT, "--archives", str(index))
    with warc.open("ab") as file:
        file.write(b"more")
    result = run(tmp_path, links, *options)
    assert result.returncode == 2 and "index it anew" in result.stderr
    warc.unlink()
    result = run(tmp_path, links, *options)
    assert result.returncode == 2 and "old.warc.gz is missing" in result.stderr


def test_an_archive_that_is_compressed_as_a_whole_is_refused(tmp_path: Path) -> None:
    plain = archive(tmp_path / "old.warc", ARCHIVED)
    whole = tmp_path / "whole.warc.gz"
    whole.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(read_pages(whole)) == list(read_pages(plain))
    with pytest.raises(InputError, match="compressed record by record"):
        index_archive(whole, output=tmp_path / "index.parquet")
    assert not (tmp_path / "index.parquet").exists()


@pytest.mark.parametrize("name", ["old.warc.gz", "old.warc"])
def test_a_file_that_is_cut_off_anywhere_inside_a_record_is_refused(
    tmp_path: Path, name: str
) -> None:
    warc = archive(tmp_path / name, [(url, HTML, b"short") for url, _, _ in ARCHIVED[:2]])
    whole = warc.read_bytes()
    places = [(record.offset, record.length) for record in read_records(warc, "response")]
    (first, length), (second, _) = places
    assert first + length == second and sum(places[1]) == len(whole)
    empty_lines = 0 if name.endswith("gz") else 4  # that a plain file can do without
    cuts = set(range(1, len(whole))) - {first, second}
    cuts -= {end - back for end in (first, second, len(whole)) for back in range(empty_lines + 1)}
    cut = tmp_path / f"cut-{name}"
    for size in cuts:
        cut.write_bytes(whole[:size])
        with pytest.raises(InputError, match="not a whole WARC file"):
            list(read_pages(cut))


def test_the_text_of_a_wet_file_is_read(tmp_path: Path) -> None:
    wet = tmp_path / "old.wet.gz"
    with wet.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for number in range(2):
            text = io.BytesIO(f"caf\u00e9 {number}".encode())
            url = f"http://old.example/{number}"
            record = writer.create_warc_record(
                url, "conversion", text, warc_content_type="text/plain"
            )
            writer.write_record(record)
    expected = [(f"http://old.example/{number}", f"caf\u00e9 {number}") for number in range(2)]
    assert list(read_conversions(wet)) == expected


def test_a_header_makes_no_second_line_in_a_record() -> None:
    headers = [("X-Odd", "a\r\nInjected: b"), ("X-Bytes", "\udce9"), ("Content-Encoding", "gzip")]
    date = datetime(2020, 1, 1, tzinfo=UTC)
    data = page_record("1" * 32, "http://a.example/", date, "OK", headers, TEXT)
    record = next(iter(ArchiveIterator(io.BytesIO(data), check_digests="raise")))
    names = [name for name, _ in record.http_headers.headers]
    assert names == ["X-Odd", "X-Bytes", "Content-Length"]
    assert record.content_stream().read() == TEXT
    assert page_record("1" * 32, "http://a.example/", date, "OK", headers, TEXT) == data


def test_outcomes_are_counted_by_reason_and_host(tmp_path: Path) -> None:
    def row(url: str, outcome: str, detail: str | None, size: int = 0) -> dict[str, Any]:
        return dict.fromkeys(OUTCOMES.names) | {
            "url_id": url_id(url),
            "url": url,
            "outcome": outcome,
            "detail": detail,
            "bytes": size,
            "seconds": 0.5,
        }

    shards = [
        [
            row("http://a.example/1", "ok", None, 100),
            row("http://a.example/2", "http_error", "HTTP 404"),
            row("http://[::1]:8/", "blocked_address", "not a public address"),
        ],
        [
            row("http://b.example:8080/1", "robots", "Crawl-delay of 100 s is over the maximum"),
            row("http://b.example/2", "robots", "Crawl-delay of 86400 s is over the maximum"),
            row("http://a.example/3", "http_error", "HTTP 410"),
        ],
    ]
    paths = [tmp_path / f"{number}.parquet" for number in range(2)]
    for path, rows in zip(paths, shards, strict=True):
        pq.write_table(pa.Table.from_pylist(rows, OUTCOMES), path)
    reasons, hosts = tmp_path / "reasons.csv", tmp_path / "hosts.csv"
    assert outcomes(paths, reasons=reasons, hosts=hosts) == {
        "links": 6,
        "hosts": 3,
        "outcomes": {"robots": 2, "http_error": 2, "blocked_address": 1, "ok": 1},
    }
    found = pd.read_csv(reasons).fillna("")
    assert list(found["detail"]) == [
        "Crawl-delay of N s is over the maximum",
        *("not a public address", "HTTP 404", "HTTP 410", ""),
    ]
    assert found["links"].tolist() == [2, 1, 1, 1, 1]
    assert found["share"].sum() == pytest.approx(1, abs=1e-5)
    by_host = pd.read_csv(hosts).set_index("host")
    assert by_host["links"].to_dict() == {"a.example": 3, "b.example": 2, "[::1]": 1}
    assert by_host.loc["a.example", ["ok", "http_error", "robots", "bytes"]].tolist() == [
        1,
        2,
        0,
        100,
    ]
    assert (by_host["seconds"] == 0.5).all()
