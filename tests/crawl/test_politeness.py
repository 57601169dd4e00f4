"""What servers see of a crawl: never more at once, and never sooner, than the settings say."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from crawling import Crawl, serving
from servers import Request, Server, gaps, most_at_once

CLOCK = 0.001
"""Seconds by which the crawl's clock and the server's may differ over such a delay."""
PAGE = b"<html><body><p>" + b"Tides for the week ahead. " * 40 + b"</p></body></html>"


class Setting(NamedTuple):
    """How much a crawl may ask of a host."""

    name: str
    at_once: int
    delay: float


SETTINGS = [Setting("one", 1, 0.2), Setting("two", 2, 0.05), Setting("four", 4, 0.0)]


async def answer(request: Request) -> None:
    """Answer as the path says: some pages at once, some in a while, some from elsewhere."""
    kind, *rest = request.path.strip("/").split("/")
    if request.path == "/robots.txt":
        delay = b"Crawl-delay: 0.2\n" if request.host.startswith("unhurried") else b""
        rules = b"User-agent: *\n" + delay + b"Disallow: /private/\n"
        await request.page(rules, "text/plain")
    elif kind == "moved":
        await request.redirect("/" + "/".join(rest))
    elif kind == "elsewhere":
        await request.redirect(f"http://{rest[0]}:{request.port}/{'/'.join(rest[1:])}")
    else:
        if kind == "slow":
            await asyncio.sleep(0.12)
        await request.page(PAGE)


def pages(host: str, port: int, count: int) -> list[str]:
    """Return links to a host: every kind of page in turn, and one that is forbidden."""
    kinds = ["quick", "slow", "moved/quick", "slow", "quick", "moved/slow"]
    paths = [f"/{kinds[n % len(kinds)]}/{n}.html" for n in range(count)]
    return [f"http://{host}:{port}{path}" for path in [*paths, "/private/diary.html"]]


def names_of_one_host(port: int) -> list[str]:
    """Return links to a host that each call it by another name, some of which are the same."""
    names = [
        "many-names.example",
        "Many-Names.example",
        "MANY-NAMES.EXAMPLE",
        "many-names.example.",
    ]
    return [f"http://{name}:{port}/slow/{n}.html" for n in range(4) for name in names]


def check(requests: Sequence[Request], at_once: int, delay: float) -> None:
    """Fail unless the requests to one host were within the limits, one by one and on the whole."""
    assert most_at_once(requests) <= at_once
    assert min(gaps(requests)) >= delay - CLOCK
    whole = requests[-1].arrived - requests[0].arrived
    assert whole >= (len(requests) - 1) * delay - CLOCK


def finish(*processes: subprocess.Popen[str], seconds: float = 60) -> None:
    """Wait for crawls and fail unless they end well."""
    end = time.monotonic() + seconds
    try:
        for process in processes:
            _, stderr = process.communicate(timeout=max(end - time.monotonic(), 0.1))
            assert process.returncode == 0, stderr
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def polite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server after a crawl at each setting, and one more of hosts with a Crawl-delay."""
    folder = tmp_path_factory.mktemp("polite")
    with serving(answer) as (server, port):
        crawls = []
        for name, at_once, delay in [*SETTINGS, Setting("unhurried", 4, 0.0)]:
            hosts = [f"{name}-{number}.example" for number in range(3)]
            urls = [url for host in hosts for url in pages(host, port, 9)]
            limits = ("--concurrency-per-host", at_once, "--delay", delay, "--concurrency", 32)
            crawls.append(Crawl(folder / name, urls, *limits))
        finish(*[crawl.start() for crawl in crawls])
        for crawl in crawls:
            assert set(crawl.rows()["outcome"]) == {"ok", "robots"}
        yield server


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_host_has_no_more_at_once_and_no_sooner_than_set(
    polite: Server, setting: Setting
) -> None:
    for number in range(3):
        check(polite.asked(f"{setting.name}-{number}.example"), setting.at_once, setting.delay)


def test_a_host_is_one_host_however_it_is_spelt(tmp_path: Path) -> None:
    with serving(answer) as (server, port):
        limits = ("--concurrency-per-host", 1, "--delay", 0.1)
        crawl = Crawl(tmp_path / "crawl", names_of_one_host(port), *limits)
        crawl.run()
        assert set(crawl.rows()["outcome"]) == {"ok"}
        check(server.log, 1, 0.1)


def test_a_lost_connection_is_no_reason_to_ask_sooner(tmp_path: Path) -> None:
    lost: set[str] = set()

    async def forgetful(request: Request) -> None:
        """Hang up on some pages when they are first asked for, on a connection that is in use."""
        if request.path.startswith("/3") and request.path not in lost:
            lost.add(request.path)
            request.close()
        else:
            await request.page(PAGE)

    with serving(forgetful) as (server, port):
        urls = [f"http://forgetful.example:{port}/{n % 4}/{n}.html" for n in range(16)]
        crawl = Crawl(tmp_path / "crawl", urls, "--concurrency-per-host", 1, "--delay", 0.15)
        crawl.run()
        assert set(crawl.rows()["outcome"]) == {"ok"}
        assert len(lost) == 4
        assert set(crawl.rows()["attempts"]) == {1, 2}
        check(server.log, 1, 0.15)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_what_is_allowed_at_once_is_used(tmp_path: Path, setting: Setting) -> None:
    asked: list[Request] = []
    together = asyncio.Event()

    async def hold(request: Request) -> None:
        """Answer no page before as many as are allowed have been asked for."""
        if request.path != "/robots.txt":
            asked.append(request)
            if len(asked) == setting.at_once:
                together.set()
            await together.wait()
        await request.page(PAGE)

    with serving(hold) as (server, port):
        urls = [f"http://held.example:{port}/{number}.html" for number in range(8)]
        limits = ("--concurrency-per-host", setting.at_once, "--delay", setting.delay)
        crawl = Crawl(tmp_path / "crawl", urls, *limits)
        crawl.run()
        rows = crawl.rows()
        assert set(rows["outcome"]) == {"ok"}
        assert set(rows["attempts"]) == {1}  # none was given up for want of the others
        assert most_at_once(server.log) == setting.at_once


def test_the_crawl_delay_of_robots_txt_is_kept(polite: Server) -> None:
    for number in range(3):
        check(polite.asked(f"unhurried-{number}.example"), 4, 0.2)


def test_a_crawl_delay_holds_up_its_own_host_alone(polite: Server) -> None:
    first, last = (
        [polite.asked(f"unhurried-{number}.example")[place].arrived for number in range(3)]
        for place in (0, -1)
    )
    assert max(last) - min(first) < 1.3 * 0.2 * (len(polite.asked("unhurried-0.example")) - 1)


def test_no_forbidden_page_is_asked_for(polite: Server) -> None:
    assert [request for request in polite.log if request.path.startswith("/private")] == []


def shared_links(folder: Path, port: int) -> list[list[str]]:
    """Return the links of two shards, half of which lead to hosts of the other one."""
    shards = []
    for here, there in (("east", "west"), ("west", "east")):
        shards.append(
            [
                f"http://{here}-{number}.example:{port}/{path}/{n}.html"
                for number in range(3)
                for n in range(8)
                for path in (["quick", "slow", f"elsewhere/{there}-{number}.example/slow"][n % 3],)
            ]
        )
    return shards


@pytest.mark.parametrize(("at_once", "delay"), [(1, 0.1), (2, 0.05), (2, 0.0)])
def test_parallel_crawls_keep_the_limits_together(
    tmp_path: Path, at_once: int, delay: float
) -> None:
    with serving(answer) as (server, port):
        limits = ("--concurrency-per-host", at_once, "--delay", delay)
        crawls = [
            Crawl(tmp_path / name, urls, *limits, "--hosts", tmp_path / "hosts")
            for name, urls in zip("ew", shared_links(tmp_path, port), strict=True)
        ]
        finish(*[crawl.start() for crawl in crawls])
        for crawl in crawls:
            assert set(crawl.rows()["outcome"]) == {"ok"}
        for host in {request.host for request in server.log}:
            check(server.asked(host), at_once, delay)
        assert most_at_once(server.log) > at_once


def test_parallel_crawls_keep_the_delay_though_one_takes_long_to_connect(tmp_path: Path) -> None:
    with serving(answer) as (server, port):
        limits = ("--concurrency-per-host", 4, "--delay", 0.1, "--hosts", tmp_path / "hosts")
        hosts = [f"far-{number}.example:{port}" for number in range(6)]
        crawls = [
            Crawl(
                tmp_path / name,
                [f"http://{host}/quick/{name}/{n}" for host in hosts for n in range(count)],
                *limits,
                environment={"CRAWL_LOOKUP_SECONDS": str(seconds)},
            )
            for name, count, seconds in (("near", 12, 0.0), ("far", 3, 0.33))
        ]
        finish(*[crawl.start() for crawl in crawls])
        for host in {request.host for request in server.log}:
            check(server.asked(host), 4, 0.1)


def test_a_crawl_that_is_killed_frees_the_hosts_for_the_others(tmp_path: Path) -> None:
    with serving(answer) as (server, port):
        limits = ("--concurrency-per-host", 1, "--hosts", tmp_path / "hosts")
        one, other = (
            Crawl(
                tmp_path / name,
                [f"http://north.example:{port}/slow/{name}{n}" for n in range(30)],
                *limits,
            )
            for name in ("one", "other")
        )
        killed, survivor = one.start(), other.start()
        try:
            while not any(request.path.startswith("/slow/one") for request in server.log):
                assert killed.poll() is None
                time.sleep(0.01)
        finally:
            killed.kill()
            killed.communicate()
        finish(survivor, seconds=20)
        assert set(other.rows()["outcome"]) == {"ok"}
        pages_of_the_killed = [r for r in server.log if r.path.startswith("/slow/one")]
        assert 0 < len(pages_of_the_killed) < 16


def test_a_host_that_has_to_wait_holds_up_no_other(tmp_path: Path) -> None:
    with serving(answer) as (server, port):
        hosts = {"unhurried": (4, 16), "town": (8, 24)}
        urls = [
            f"http://{kind}-{number}.example:{port}/quick/{n}"
            for kind, (count, pages_of_each) in hosts.items()
            for number in range(count)
            for n in range(pages_of_each)
        ]
        crawl = Crawl(tmp_path / "crawl", urls, "--concurrency", 2)
        crawl.run()
        assert set(crawl.rows()["outcome"]) == {"ok"}
        ends = {
            kind: max(r.arrived for r in server.log if r.host.startswith(kind)) for kind in hosts
        }
        begin = min(request.arrived for request in server.log)
        assert ends["unhurried"] - begin >= 16 * 0.2 - CLOCK
        assert ends["town"] < ends["unhurried"]
        assert most_at_once(server.log) <= 2


class Busy:
    """Hosts that are busy now and then; the others answer at once."""

    def __init__(self) -> None:
        """Begin the count of the requests."""
        self.asked: dict[str, int] = {}

    async def answer(self, request: Request) -> None:
        """Answer, but the fourth page of a host as its name says."""
        if request.path == "/robots.txt":
            await request.page(b"", "text/plain", "404 Not Found")
            return
        self.asked[request.host] = self.asked.get(request.host, 0) + 1
        busy = self.asked[request.host] == 4
        if busy and request.host.startswith("rests"):
            await request.page(b"", status="429 Too Many Requests", headers=["Retry-After: 1"])
        elif busy and request.host.startswith("overrun"):
            await request.page(b"", status="503 Service Unavailable")
        elif busy and request.host.startswith("stuck"):
            await asyncio.sleep(30)
        else:
            await asyncio.sleep(0.02)
            await request.page(PAGE)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server after a crawl of hosts that are busy."""
    folder = tmp_path_factory.mktemp("busy")
    with serving(Busy().answer) as (server, port):
        crawls = []
        for at_once, hosts in ((2, ["rests", "calm"]), (1, ["overrun", "stuck"])):
            urls = [f"http://{host}.example:{port}/{n}.html" for host in hosts for n in range(12)]
            limits = ("--concurrency-per-host", at_once, "--timeout", 1)
            crawls.append(Crawl(folder / hosts[0], urls, *limits))
        finish(*[crawl.start() for crawl in crawls])
        for crawl in crawls:
            assert set(crawl.rows()["outcome"]) == {"ok"}
        yield server


def test_a_host_that_asks_for_rest_has_it_from_all_its_links(busy: Server) -> None:
    refused = busy.asked("rests.example")[4]  # after robots.txt and three pages
    assert refused.ended is not None
    later = [r.arrived - refused.ended for r in busy.asked("rests.example")]
    too_soon = [seconds for seconds in later if 0 < seconds < 1 - CLOCK]
    # Two may be under way: the other place can have been taken before the answer was read.
    assert len(too_soon) <= 1 and max(too_soon, default=0) < 0.5
    assert sum(seconds >= 1 - CLOCK for seconds in later) > 5


@pytest.mark.parametrize("host", ["overrun.example", "stuck.example"])
def test_a_host_in_trouble_is_asked_more_slowly_and_then_faster_again(
    busy: Server, host: str
) -> None:
    waits = gaps(busy.asked(host)[4:])  # from the page that failed on
    assert waits[0] >= 0.5 - CLOCK
    assert waits[1] >= 0.25 - CLOCK
    assert waits[-1] < 0.2


def test_a_calm_host_is_not_slowed_down(busy: Server) -> None:
    assert max(gaps(busy.asked("calm.example"))) < 0.5
