"""Whatever a server does, its link ends with the right outcome, and the crawl goes on."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import hostile
import pandas as pd
import pytest
from crawling import AGENT, CONTACT, OUTCOMES, Crawl, Record, url_id
from hostile import MAXIMUM_BYTES, PAGE, PORTS, SITES, url
from servers import ADDRESS, Request, Server, canaries, listen

PEAK_OVER_A_SMALL_CRAWL = 100.0
"""MB; a bomb holds 2000, a header 300, and at most 64 pages are under way."""
READ_PER_RESPONSE = 2 * MAXIMUM_BYTES + 8_000_000
"""Bytes of a response without end that a client may take: its limit, and what sockets hold."""


class Crawled(NamedTuple):
    """What is left of a crawl of the hostile web."""

    expected: dict[str, str]
    rows: pd.DataFrame
    records: list[Record]
    log: list[Request]
    stderr: str
    canaries: list[str]
    files: list[str]
    peak: float
    small_peak: float


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crawled]:
    folder = tmp_path_factory.mktemp("hostile")
    context = hostile.certificates(folder)
    plain, secure = Server(hostile.answer), Server(hostile.answer)
    with contextlib.ExitStack() as stack:
        listeners = {scheme: listen(ADDRESS) for scheme in ("http", "https")}
        PORTS.update({scheme: each.getsockname()[1] for scheme, each in listeners.items()})
        stack.enter_context(plain.running(listeners["http"]))
        stack.enter_context(secure.running(listeners["https"], context))
        came = [stack.enter_context(canaries(port)) for port in PORTS.values()]
        proxy = listen("127.0.0.1")
        proxy_port = proxy.getsockname()[1]
        proxy.close()
        came.append(stack.enter_context(canaries(proxy_port)))
        expected = hostile.links()
        options: tuple[object, ...] = (
            *("--timeout", hostile.TIMEOUT, "--retries", hostile.RETRIES),
            *("--redirects", hostile.REDIRECTS, "--maximum-bytes", MAXIMUM_BYTES),
            *("--maximum-delay", hostile.MAXIMUM_DELAY, "--concurrency", 64),
        )
        environment = environment_with_secrets(folder, proxy_port)
        small = Crawl(folder / "small", [url("small.example")], *options, environment=environment)
        small.run()
        crawl = Crawl(
            folder / "web", list(expected), *options, names=hostile.NAMES, environment=environment
        )
        stderr = crawl.run(60)
        yield Crawled(
            expected,
            crawl.rows(),
            crawl.records(),
            plain.log + secure.log,
            stderr,
            [connection for each in came for connection in each],
            sorted(path.name for path in crawl.warc.parent.iterdir()),
            crawl.peak(),
            small.peak(),
        )


def environment_with_secrets(folder: Path, port: int) -> dict[str, str]:
    """Return what a crawl must not use, a proxy and passwords, and an authority it must trust."""
    netrc = folder / ".netrc"
    netrc.write_text("default login user password secret\n")
    netrc.chmod(0o600)
    proxies = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    return {
        **dict.fromkeys(proxies, f"http://user:secret@127.0.0.1:{port}"),
        "HOME": str(folder),
        "NETRC": str(netrc),
        "SSL_CERT_FILE": str(folder / "authority.pem"),
    }


def asked(crawled: Crawled, host: str, path: str | None = None) -> list[Request]:
    return [r for r in crawled.log if r.host == host and path in (None, r.path)]


def body_of(crawled: Crawled, address: str) -> bytes:
    (body,) = (r.body for r in crawled.records if r.header("X-Url-Id") == url_id(address))
    return body


def test_every_link_has_one_row_with_the_right_outcome(crawled: Crawled) -> None:
    found = crawled.rows["outcome"].to_dict()
    wrong = {
        address: (found.get(address), "expected " + outcome, crawled.rows["detail"].get(address))
        for address, outcome in crawled.expected.items()
        if found.get(address) not in outcome.split("|")
    }
    assert not wrong
    assert len(crawled.rows) == len(crawled.expected)
    assert list(crawled.rows["url_id"]) == sorted(map(url_id, crawled.expected))


def test_the_hostile_web_has_every_outcome(crawled: Crawled) -> None:
    # Nothing is to be forgotten here; test_forgotten_pages.py has that.
    assert set(crawled.rows["outcome"]) == OUTCOMES - {"forgotten"}


def test_only_failures_that_may_pass_are_tried_again(crawled: Crawled) -> None:
    expected = {
        url(host, path, site.scheme): site.attempts
        for host, site in SITES.items()
        for path in site.outcomes
        if site.attempts is not None
    }
    found = crawled.rows["attempts"].to_dict()
    assert {address: found[address] for address in expected} == expected


def test_servers_see_as_many_requests_as_there_were_attempts(crawled: Crawled) -> None:
    for host, site in SITES.items():
        for path in site.outcomes:
            if site.attempts is not None and host != "loop.example":
                assert len(asked(crawled, host, path)) == site.attempts, host


@pytest.mark.parametrize(
    ("host", "path", "detail"),
    [
        ("robots-500.example", "/page.html", "robots.txt: HTTP 500"),
        ("robots-503.example", "/page.html", "robots.txt: HTTP 503"),
        ("robots-silent.example", "/page.html", "robots.txt: "),
        ("robots-slow-crawl.example", "/page.html", "Crawl-delay of 86400 s"),
        ("gone.example", "/page.html", "HTTP 410"),
        ("status-999.example", "/page.html", "HTTP 999"),
        ("retry-in-a-day.example", "/page.html", "HTTP 429"),
        ("brotli.example", "/page.html", "br"),
        ("huge-header.example", "/page.html", ""),
        ("resets-at-once.example", "/page.html", ""),
    ],
)
def test_the_reason_of_a_failure_is_said(
    crawled: Crawled, host: str, path: str, detail: str
) -> None:
    found = crawled.rows["detail"][url(host, path)]
    assert found
    assert detail in found


def test_a_reason_fits_on_a_line(crawled: Crawled) -> None:
    details = [detail for detail in crawled.rows["detail"] if isinstance(detail, str)]
    assert [detail for detail in details if not detail.isprintable() or len(detail) > 300] == []


def test_the_status_is_kept(crawled: Crawled) -> None:
    rows = crawled.rows
    assert rows["status"][url("gone.example")] == 410
    assert rows["status"][url("status-999.example")] == 999
    assert rows["status"][url("gzipped.example")] == 200


def test_nothing_connects_where_no_crawl_may_go(crawled: Crawled) -> None:
    assert crawled.canaries == []


def test_a_canary_sees_a_connection() -> None:
    with listen("127.0.0.1") as listener:
        port = listener.getsockname()[1]
    with canaries(port) as came:
        for address in ("127.0.0.1", "::1"):
            with contextlib.suppress(OSError), socket.create_connection((address, port)) as client:
                assert client.recv(1) == b""
                assert came
                came.clear()


def test_memory_is_bounded_whatever_is_sent(crawled: Crawled) -> None:
    assert crawled.peak < crawled.small_peak + PEAK_OVER_A_SMALL_CRAWL


def test_no_more_is_read_than_the_limit(crawled: Crawled) -> None:
    assert max(request.sent for request in crawled.log) < READ_PER_RESPONSE


def test_of_robots_txt_no_more_is_read_than_its_limit(crawled: Crawled) -> None:
    (request,) = asked(crawled, "robots-10-megabytes.example", "/robots.txt")
    assert request.sent < 10_000_000


def test_robots_txt_is_asked_for_once_where_it_is_answered(crawled: Crawled) -> None:
    for host in ("sets-cookies.example", "chain.example", "robots-for-us.example"):
        assert len(asked(crawled, host, "/robots.txt")) == 1


def test_robots_txt_comes_first_on_every_host(crawled: Crawled) -> None:
    first: dict[tuple[str, int], str] = {}
    for request in crawled.log:
        first.setdefault((request.host, request.port), request.path)
    assert {host: path for host, path in first.items() if path != "/robots.txt"} == {}


def test_what_robots_txt_forbids_is_never_asked_for(crawled: Crawled) -> None:
    forbidden = [
        (host, path)
        for host, site in SITES.items()
        for path, outcome in site.outcomes.items()
        if host.startswith("robots-") and outcome in ("robots", "blocked_address", "connection")
    ]
    assert len(forbidden) > 20
    forbidden.append(("keeps-out.example", "/secret.html"))
    assert [(host, path) for host, path in forbidden if asked(crawled, host, path)] == []


@pytest.mark.parametrize(
    "host",
    ["retry-in-seconds.example", "unavailable-for-seconds.example", "retry-at-a-date.example"],
)
def test_a_server_is_asked_again_when_it_says(crawled: Crawled, host: str) -> None:
    first, second = asked(crawled, host, "/page.html")
    if host == "retry-at-a-date.example":
        assert second.arrived_at >= int(first.arrived_at) + 2
    else:
        assert first.ended is not None
        assert second.arrived - first.ended >= 2 - 0.005


def test_a_server_that_wants_a_long_rest_is_not_asked_again(crawled: Crawled) -> None:
    for host in ("retry-in-a-day", "retry-in-aeons", "retry-in-year-9999"):
        assert len(asked(crawled, f"{host}.example", "/page.html")) == 1


def test_a_failed_server_is_given_time_before_it_is_asked_again(crawled: Crawled) -> None:
    for host in ("unavailable-once", "error-once", "broken", "silent", "resets-at-once"):
        first, second = asked(crawled, f"{host}.example", "/page.html")
        known = first.ended or first.arrived + hostile.TIMEOUT
        assert second.arrived - known > 0.05


def test_pages_are_asked_for_with_get_alone(crawled: Crawled) -> None:
    assert {request.method for request in crawled.log} == {"GET"}


def test_no_secret_cookie_or_referer_is_sent(crawled: Crawled) -> None:
    for request in crawled.log:
        names = {name for name, _ in request.headers}
        assert not names & {"cookie", "authorization", "proxy-authorization", "referer", "origin"}
        assert "secret" not in "".join(value for _, value in request.headers)


def test_the_user_agent_names_the_contact(crawled: Crawled) -> None:
    agents = {dict(request.headers).get("user-agent") for request in crawled.log}
    assert agents == {f"{AGENT} (+{CONTACT})"}


def test_only_encodings_that_can_be_undone_are_asked_for(crawled: Crawled) -> None:
    for request in crawled.log:
        offered = dict(request.headers).get("accept-encoding", "identity").split(",")
        assert {coding.strip() for coding in offered} <= {"gzip", "deflate", "identity"}


@pytest.mark.parametrize("host", ["gzipped", "gzipped-in-members", "deflated", "deflated-raw"])
def test_a_body_is_kept_without_its_encoding(crawled: Crawled, host: str) -> None:
    assert body_of(crawled, url(f"{host}.example")) == PAGE


def test_the_bytes_of_a_body_are_kept_whatever_the_header_says(crawled: Crawled) -> None:
    for host in ("wrong-charset.example", "unknown-charset.example"):
        assert body_of(crawled, url(host)) == hostile.LATIN
    png = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    assert body_of(crawled, url("lies-of-html.example")) == png
    assert body_of(crawled, url("empty.example")) == b""
    assert body_of(crawled, url("bytes-in-headers.example")) == PAGE


def test_an_answer_to_no_question_is_not_taken_for_a_page(crawled: Crawled) -> None:
    assert body_of(crawled, url("answers-twice.example")) == PAGE


def test_the_archive_holds_the_pages_that_are_ok_and_no_other(crawled: Crawled) -> None:
    responses = [record for record in crawled.records if record.kind == "response"]
    ok = crawled.rows.index[crawled.rows["outcome"] == "ok"]
    assert [record.header("X-Url-Id") for record in responses] == sorted(map(url_id, ok))
    assert crawled.records[0].kind == "warcinfo"
    sizes = crawled.rows.set_index("url_id")["bytes"]
    for record in responses:
        assert len(record.body) == sizes[record.header("X-Url-Id")]


def test_every_record_says_its_digests_rightly(crawled: Crawled) -> None:
    for record in crawled.records:
        if record.kind == "response":
            digest = base64.b32encode(hashlib.sha1(record.body).digest()).decode()
            assert record.header("WARC-Payload-Digest") == f"sha1:{digest}"
            assert record.header("WARC-Block-Digest")


def test_the_log_has_no_traceback(crawled: Crawled) -> None:
    for word in ("Traceback", "Unclosed", "never retrieved", "never awaited", "Error:"):
        assert word not in crawled.stderr


def test_nothing_partial_is_left(crawled: Crawled) -> None:
    journal = [name for name in crawled.files if name.startswith(".0.warc.gz.journal")]
    assert len(journal) == 3 and crawled.files == [*journal, "0.parquet", "0.warc.gz"]


def test_the_type_is_kept_as_the_server_says_it(crawled: Crawled) -> None:
    types = crawled.rows["content_type"]
    assert pd.isna(types[url("untyped.example")])
    assert types[url("wrong-charset.example")] == "text/html; charset=utf-8"
    assert types[url("lies-of-png.example")] == "image/png"
