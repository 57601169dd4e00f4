"""A crawl that is stopped at any moment goes on where it was, and ends as if it never had been."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import signal
import subprocess
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from crawling import Crawl, Record, serving, url_id
from servers import Request, Server

HOSTS, PAGES_PER_HOST = 10, 16
PAGES = HOSTS * PAGES_PER_HOST
CONCURRENCY = 12
KILLS = 20


async def answer(request: Request) -> None:
    """Answer as the path says, and always the same."""
    number = zlib.crc32(f"{request.host}{request.path}".encode())
    if request.path == "/robots.txt":
        await request.page(b"User-agent: *\nDisallow: /private/\n", "text/plain")
        return
    await asyncio.sleep(0.02 + number % 60 / 1000)
    if request.path.startswith("/moved/"):
        await request.redirect(request.path.replace("/moved/", "/there/"))
    elif request.path.startswith("/gone/"):
        await request.page(b"gone", status="410 Gone")
    elif request.path.startswith("/data/"):
        await request.page(b"{}", "application/json")
    else:
        chance = random.Random(number)
        text = chance.randbytes(chance.randrange(3000)).hex().encode()
        await request.page(b"<html><body><p>" + text + b"</p></body></html>")


def links(port: int) -> list[str]:
    """Return links to every kind of page."""
    kinds = ["page", "page", "moved", "page", "gone", "page", "data", "private"]
    return [
        f"http://host-{host}.example:{port}/{kinds[n % len(kinds)]}/{n}.html"
        for host in range(HOSTS)
        for n in range(PAGES_PER_HOST)
    ]


class Undisturbed(NamedTuple):
    """The server, the links, and what a crawl of them gives that nothing disturbs."""

    server: Server
    links: list[str]
    records: list[Record]
    rows: pd.DataFrame


def new_crawl(folder: Path, urls: list[str]) -> Crawl:
    return Crawl(folder, urls, "--concurrency", CONCURRENCY, "--timeout", 5)


def asked_pages(log: list[Request]) -> Counter[str]:
    """Return how often each link was asked for; what it redirects to is part of it."""
    return Counter(
        url_id(f"http://{request.host}:{request.port}{request.path}")
        for request in log
        if request.path != "/robots.txt" and not request.path.startswith("/there/")
    )


def without_dates(records: list[Record]) -> list[Record]:
    """Return records without the time that they were fetched at."""
    return [
        record._replace(headers=tuple(h for h in record.headers if h[0] != "WARC-Date"))
        for record in records
    ]


def check_files(crawl: Crawl, undisturbed: Undisturbed) -> None:
    """Fail unless the files are those of an undisturbed crawl, and there are no others."""
    assert without_dates(crawl.records()) == without_dates(undisturbed.records)
    columns = [name for name in undisturbed.rows if name not in ("fetched_at", "seconds")]
    pd.testing.assert_frame_equal(crawl.rows()[columns], undisturbed.rows[columns])
    assert crawl.has_ended()


def journalled(crawl: Crawl, urls: list[str]) -> set[str]:
    """Return the links that stand on a whole line of the journal."""
    text = b"".join(
        path.read_bytes().rpartition(b"\n")[0] for path in crawl.hidden() if "journal" in path.name
    )
    return {name for name in map(url_id, urls) if name.encode() in text}


def pages(undisturbed: Undisturbed) -> set[str]:
    """Return the links that lead to a page."""
    return set(undisturbed.rows["url_id"][undisturbed.rows["outcome"] == "ok"])


def failed(rows: pd.DataFrame) -> set[str]:
    """Return the links that were asked for and lead to no page."""
    return set(rows["url_id"][rows["outcome"].isin(["http_error", "wrong_type"])])


def run_until(
    crawl: Crawl,
    reached: Callable[[], bool],
    signalled: int = signal.SIGKILL,
    wait: float = 0.0,
) -> str:
    """Crawl until a moment, and `wait` seconds more, and end the process; return its log."""
    process = crawl.start()
    try:
        while not reached():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.001)
        time.sleep(wait)
        process.send_signal(signalled)
        _, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    if signalled == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode > 0, stderr
    return stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Undisturbed]:
    with serving(answer) as (server, port):
        urls = links(port)
        crawl = new_crawl(tmp_path_factory.mktemp("undisturbed"), urls)
        crawl.run()
        yield Undisturbed(server, urls, crawl.records(), crawl.rows())


@pytest.fixture(scope="module")
def killed(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a crawl that was killed half-way."""
    crawl = new_crawl(tmp_path_factory.mktemp("killed"), undisturbed.links)
    before = len(undisturbed.server.log)
    run_until(crawl, lambda: len(undisturbed.server.log) > before + PAGES // 2)
    assert len(journalled(crawl, undisturbed.links)) > PAGES // 3
    return crawl.folder


@pytest.fixture
def half_done(killed: Path, undisturbed: Undisturbed, tmp_path: Path) -> Crawl:
    """A copy of the crawl that was killed half-way."""
    shutil.copytree(killed, tmp_path / "copy")
    return new_crawl(tmp_path / "copy", undisturbed.links)


def test_the_undisturbed_crawl_is_as_the_servers_are(undisturbed: Undisturbed) -> None:
    counts = undisturbed.rows["outcome"].value_counts().to_dict()
    eighth = PAGES // 8
    assert counts == {
        "ok": 5 * eighth,
        "http_error": eighth,
        "wrong_type": eighth,
        "robots": eighth,
    }
    assert asked_pages(undisturbed.server.log).most_common(1)[0][1] >= 1


def test_a_crawl_that_is_killed_twenty_times_ends_as_one_that_is_not(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    chance = random.Random(7)
    server, urls = undisturbed.server, undisturbed.links
    crawl = new_crawl(tmp_path / "crawl", urls)
    begin = len(server.log)
    early = set(chance.sample(range(1, KILLS), 4))  # while it starts, or soon after
    moments = sorted(chance.sample(range(5, 125), KILLS))  # distinct pages that were asked for
    finished: set[str] = set()
    for number, pages in enumerate(moments):
        seen, wait = len(server.log), chance.uniform(0, 0.02)
        end = time.monotonic() + (chance.uniform(0.1, 1.0) if number in early else 60)

        def reached(pages: int = pages, seen: int = seen, end: float = end) -> bool:
            if time.monotonic() > end:
                return True
            return bool(asked_pages(server.log[seen:])) and (
                len(asked_pages(server.log[begin:])) >= pages
            )

        run_until(crawl, reached, wait=wait)
        again = finished & set(asked_pages(server.log[seen:]))
        assert again == set(), f"asked for again after kill {number}"
        finished |= journalled(crawl, urls)
        assert not crawl.warc.exists()
        assert not crawl.outcomes.exists()
    assert len(finished) > PAGES // 2
    seen = len(server.log)
    stderr = crawl.run()
    assert finished & set(asked_pages(server.log[seen:])) == set()
    assert re.search(rf"resumed: {len(finished)}\b", stderr)
    check_files(crawl, undisturbed)
    asked = asked_pages(server.log[begin:])
    assert asked.total() - len(asked) <= CONCURRENCY * KILLS


def test_a_crawl_that_is_killed_while_it_closes_its_files_ends_as_one_that_is_not(
    undisturbed: Undisturbed, half_done: Crawl
) -> None:
    chance = random.Random(3)
    for _ in range(4):
        seen = set(half_done.hidden())

        def closes(seen: set[Path] = seen) -> bool:
            return half_done.warc.exists() or bool(set(half_done.hidden()) - seen)

        run_until(half_done, closes, wait=chance.uniform(0, 0.015))
    finished = journalled(half_done, undisturbed.links)
    if finished != set(map(url_id, undisturbed.links)):
        assert half_done.outcomes.exists()
        assert finished == pages(undisturbed)
    seen_by_server = len(undisturbed.server.log)
    half_done.run()
    assert finished & set(asked_pages(undisturbed.server.log[seen_by_server:])) == set()
    check_files(half_done, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_crawl_that_is_told_to_stop_says_how_to_go_on(
    undisturbed: Undisturbed, half_done: Crawl, number: signal.Signals
) -> None:
    server, urls = undisturbed.server, undisturbed.links
    before = journalled(half_done, urls)
    seen = len(server.log)
    stderr = run_until(half_done, lambda: len(server.log) > seen + PAGES // 5, number)
    done = journalled(half_done, urls)
    assert len(done) > len(before)
    assert "Traceback" not in stderr
    lines = [line for line in stderr.splitlines() if "again" in line]
    assert any(f"{len(done)} of {PAGES}" in line for line in lines), stderr
    assert not half_done.warc.exists()
    assert not half_done.outcomes.exists()
    seen = len(server.log)
    half_done.run()
    assert done & set(asked_pages(server.log[seen:])) == set()
    check_files(half_done, undisturbed)


@pytest.mark.parametrize("changed", ["agent", "limit"])
def test_a_crawl_with_other_settings_starts_anew(
    undisturbed: Undisturbed, half_done: Crawl, changed: str
) -> None:
    done = journalled(half_done, undisturbed.links)
    if changed == "agent":
        half_done.agent = "scalingbot/2.0"
    else:
        half_done.options += ["--maximum-bytes", "1000"]
    seen = len(undisturbed.server.log)
    stderr = half_done.run()
    allowed = undisturbed.rows[undisturbed.rows["outcome"] != "robots"]
    assert set(asked_pages(undisturbed.server.log[seen:])) == set(allowed["url_id"])
    assert done & set(allowed["url_id"])
    assert re.search("discard|anew|other settings", stderr)
    if changed == "limit":
        assert "too_large" in set(half_done.rows()["outcome"])
    else:
        responses = (half_done.records(), undisturbed.records)
        assert without_dates(responses[0])[1:] == without_dates(responses[1])[1:]
    assert half_done.has_ended()


def test_a_crawl_goes_on_with_the_links_that_the_table_now_has(
    undisturbed: Undisturbed, half_done: Crawl
) -> None:
    done = journalled(half_done, undisturbed.links)
    left = [url for place, url in enumerate(undisturbed.links) if place % 5]
    new = [url.replace("/page/", "/new/") for url in undisturbed.links if "/page/" in url][:9]
    half_done.write_links(left + new)
    seen = len(undisturbed.server.log)
    half_done.run()
    asked = set(asked_pages(undisturbed.server.log[seen:]))
    assert asked & done == set()
    assert asked >= set(map(url_id, new))
    assert sorted(half_done.rows()["url_id"]) == sorted(map(url_id, left + new))
    kept = [record for record in half_done.records() if record.kind == "response"]
    ok = half_done.rows()[half_done.rows()["outcome"] == "ok"]["url_id"]
    assert [record.header("X-Url-Id") for record in kept] == list(ok)
    assert half_done.has_ended()


# A crawl that has ended


class Ended(NamedTuple):
    """A crawl that has ended, its outputs removed as Snakemake does before it runs a job again."""

    crawl: Crawl
    rows: pd.DataFrame
    warc: bytes


def remove_outputs(crawl: Crawl) -> None:
    crawl.warc.unlink()
    crawl.outcomes.unlink()


@pytest.fixture(scope="module")
def first(undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A crawl of two thirds of the links."""
    some = [url for place, url in enumerate(undisturbed.links) if place % 3]
    crawl = new_crawl(tmp_path_factory.mktemp("first"), some)
    crawl.run()
    assert crawl.has_ended()
    ended = Ended(crawl, crawl.rows(), crawl.warc.read_bytes())
    remove_outputs(crawl)
    return ended


@pytest.fixture
def ended(first: Ended, tmp_path: Path) -> Ended:
    """A copy of it, as `cp -a` makes one."""
    subprocess.run(["cp", "-a", first.crawl.folder, tmp_path / "copy"], check=True)
    return first._replace(crawl=new_crawl(tmp_path / "copy", list(first.rows.index)))


def test_crawled_again_only_what_failed_is_asked_for(
    undisturbed: Undisturbed, ended: Ended
) -> None:
    crawl, rows = ended.crawl, ended.rows
    crawl.options += ["--timeout", "7", "--retries", "2", "--delay", "0.001"]
    seen = len(undisturbed.server.log)
    stderr = crawl.run()
    assert asked_pages(undisturbed.server.log[seen:]) == Counter(failed(rows))
    assert f"resumed: {(rows['outcome'] == 'ok').sum()}" in stderr
    assert crawl.warc.read_bytes() == ended.warc
    kept = rows["outcome"] == "ok"
    pd.testing.assert_frame_equal(crawl.rows()[kept], rows[kept])
    assert crawl.has_ended()


def test_pages_of_a_crawl_that_has_ended_take_their_space_once(ended: Ended) -> None:
    ended.crawl.run()
    sizes = {path.stat().st_ino: path.stat().st_size for path in ended.crawl.warc.parent.iterdir()}
    journal, *_ = ended.crawl.hidden()
    others = journal.stat().st_size + ended.crawl.outcomes.stat().st_size
    assert sum(sizes.values()) - others == len(ended.warc)


def test_crawled_again_links_that_are_gone_leave_and_new_ones_come(
    undisturbed: Undisturbed, ended: Ended
) -> None:
    crawl, server = ended.crawl, undisturbed.server
    gone = list(ended.rows.index[::4])
    stay = sorted(set(ended.rows.index) - set(gone))
    new = sorted(set(undisturbed.links) - set(ended.rows.index))
    crawl.write_links(stay + new)
    seen = len(server.log)
    crawl.run()
    asked = set(asked_pages(server.log[seen:]))
    known = pages(undisturbed) - set(map(url_id, new))
    assert asked & known == set() and asked & set(map(url_id, gone)) == set()
    assert asked >= pages(undisturbed) - known
    fresh = new_crawl(crawl.folder.parent / "fresh", stay + new)
    fresh.run()
    check_files(crawl, Undisturbed(server, [], fresh.records(), fresh.rows()))

    remove_outputs(crawl)
    crawl.write_links(undisturbed.links)  # what was gone comes back
    seen = len(server.log)
    crawl.run()
    assert set(asked_pages(server.log[seen:])) == failed(undisturbed.rows)
    check_files(crawl, undisturbed)


def test_crawled_again_by_other_links_it_may_be_killed_at_any_moment(
    undisturbed: Undisturbed, ended: Ended
) -> None:
    chance = random.Random(11)
    server, crawl = undisturbed.server, ended.crawl
    everything, half = undisturbed.links, undisturbed.links[::2]
    finished = pages(undisturbed) & set(ended.rows["url_id"])
    at_the_end, bounded = PAGES, 0
    plan = [(everything, 3), (everything, 12), (half, at_the_end), (everything, 0), (everything, 3)]
    plan += [(half, at_the_end), (everything, 0), (everything, at_the_end)]
    plan += [(half, at_the_end), (everything, at_the_end)]
    for urls, moment in plan:
        crawl.write_links(urls)
        seen, hidden = len(server.log), set(crawl.hidden())

        def reached(moment: int = moment, seen: int = seen, hidden: set[Path] = hidden) -> bool:
            if moment == at_the_end:
                return bool(set(crawl.hidden()) - hidden)
            return len(asked_pages(server.log[seen:])) >= moment

        run_until(crawl, reached, wait=chance.uniform(0, 0.015))
        assert finished & set(asked_pages(server.log[seen:])) == set()
        # Where it was killed at its work: not before it had looked at what an earlier crawl had
        # left, nor, late as a signal may be, while it left its own.
        if len(server.log) > seen and set(crawl.hidden()) <= hidden:
            bounded += 1
            _, *records = crawl.hidden()  # of all pages, which are half as many again as at first
            assert sum(path.stat().st_size for path in records) < 1.7 * len(ended.warc)
        finished |= journalled(crawl, everything) & pages(undisturbed)
        for path in (crawl.warc, crawl.outcomes):
            path.unlink(missing_ok=True)
    assert finished == pages(undisturbed)
    assert bounded > 0
    crawl.write_links(everything)
    seen = len(server.log)
    crawl.run()
    assert finished & set(asked_pages(server.log[seen:])) == set()
    check_files(crawl, undisturbed)


def test_pages_that_a_kill_left_in_a_half_written_file_do_not_take_space_while_it_goes_on(
    undisturbed: Undisturbed, ended: Ended
) -> None:
    crawl, server = ended.crawl, undisturbed.server
    dead = subprocess.Popen(["true"])
    dead.wait()
    for name in (crawl.warc.name, f".{crawl.warc.name}.journal"):
        (crawl.warc.parent / f".partial-{dead.pid}-{name}").write_bytes(ended.warc)
    seen = len(server.log)
    run_until(crawl, lambda: len(server.log) > seen)
    assert not list(crawl.warc.parent.glob(".partial-*"))


def test_crawled_again_with_another_user_agent_everything_is_asked_for(
    undisturbed: Undisturbed, ended: Ended
) -> None:
    ended.crawl.agent = "scalingbot/2.0"
    seen = len(undisturbed.server.log)
    stderr = ended.crawl.run()
    asked = set(asked_pages(undisturbed.server.log[seen:]))
    assert asked == set(ended.rows["url_id"][ended.rows["outcome"] != "robots"])
    assert "resumed: 0" in stderr and "of other settings" in stderr
    assert ended.crawl.has_ended()


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_pages_that_were_kept_and_are_damaged_are_asked_for(
    undisturbed: Undisturbed, ended: Ended, damage: str
) -> None:
    kept = max(ended.crawl.hidden(), key=lambda path: path.stat().st_size)
    if damage == "cut":
        kept.write_bytes(ended.warc[:-9])
    else:
        kept.unlink()
    seen = len(undisturbed.server.log)
    assert "damaged; dropped" in ended.crawl.run()
    ok = set(ended.rows["url_id"][ended.rows["outcome"] == "ok"])
    assert ok <= set(asked_pages(undisturbed.server.log[seen:]))
    assert ended.crawl.has_ended()


# What a crash tears


def cut_journal(journal: Path, warc: Path) -> None:
    journal.write_bytes(journal.read_bytes()[:-9])


def half_a_line(journal: Path, warc: Path) -> None:
    data = journal.read_bytes()
    last = data.rstrip(b"\n").rpartition(b"\n")[2]
    journal.write_bytes(data + last[: len(last) // 2])


def nothing_but_nul(journal: Path, warc: Path) -> None:
    journal.write_bytes(journal.read_bytes() + bytes(512))


def cut_archive(journal: Path, warc: Path) -> None:
    warc.write_bytes(warc.read_bytes()[:-700])


def half_a_record(journal: Path, warc: Path) -> None:
    data = warc.read_bytes()
    warc.write_bytes(data + data[:300])


def no_archive(journal: Path, warc: Path) -> None:
    warc.unlink()


@pytest.mark.parametrize(
    "damage",
    [cut_journal, half_a_line, nothing_but_nul, cut_archive, half_a_record, no_archive],
    ids=lambda damage: damage.__name__,
)
def test_what_a_crash_tore_is_mended(
    undisturbed: Undisturbed, half_done: Crawl, damage: Callable[[Path, Path], None]
) -> None:
    files = half_done.hidden()
    (journal,) = (path for path in files if not path.read_bytes().startswith(b"\x1f\x8b"))
    (warc,) = (path for path in files if path != journal)
    damage(journal, warc)
    half_done.run()
    check_files(half_done, undisturbed)
