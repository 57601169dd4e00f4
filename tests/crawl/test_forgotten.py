"""What is forgotten is neither asked for nor kept, and nothing else is asked for again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from crawling import Crawl, serving
from servers import Request, Server

KEPT, SECRET = b"anyone may read this", b"the owner of this wants it gone"
GONE = ("gone.example", "sub.gone.example")


async def answer(request: Request) -> None:
    """Answer as host and path say."""
    if request.path == "/robots.txt":
        await request.page(b"", "text/plain")
    elif request.path == "/moved":
        await request.redirect(f"http://sub.gone.example:{request.port}/page")
    elif request.path == "/slow":
        await asyncio.sleep(60)
    else:
        text = SECRET if request.host in GONE else KEPT
        await request.page(b"<html><body><p>" + text + b"</p></body></html>")


class Web(NamedTuple):
    server: Server
    kept: list[str]
    moved: str
    gone: list[str]


@pytest.fixture
def web() -> Iterator[Web]:
    with serving(answer) as (server, port):
        yield Web(
            server,
            [f"http://a.example:{port}/page", f"http://notgone.example:{port}/page"],
            f"http://a.example:{port}/moved",
            [f"http://{host}:{port}/page" for host in GONE],
        )


def kept_bytes(folder: Path) -> bytes:
    """Return all that a crawl has left, also in hidden files, decompressed as far as it is."""
    return b"".join(
        found(path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()
    )


def found(data: bytes) -> bytes:
    whole = data
    while data[:2] == b"\x1f\x8b":
        member = zlib.decompressobj(31)
        with contextlib.suppress(zlib.error):
            whole += member.decompress(data)
        data = member.unused_data
    return whole


def begin_anew(crawl: Crawl, how: str, done: int) -> None:
    """Crawl to the end, as before a rerun, or until so many pages are done, and kill it."""
    if how == "ended":
        crawl.run()
        crawl.warc.unlink()
        crawl.outcomes.unlink()
        return
    process = crawl.start()
    while sum(path.read_bytes().count(b'"ok"') for path in crawl.hidden()) < done:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("how", ["ended", "killed"])
def test_a_crawl_that_goes_on_drops_what_is_forgotten_and_asks_for_nothing_else_again(
    web: Web, tmp_path: Path, how: str
) -> None:
    slow = [web.kept[0].replace("/page", "/slow")] if how == "killed" else []
    forgotten = tmp_path / "forgotten.txt"
    crawl = Crawl(
        tmp_path / "crawl", [*web.kept, web.moved, *web.gone, *slow], "--forgotten", forgotten
    )
    begin_anew(crawl, how, done=5)
    assert SECRET in kept_bytes(crawl.folder)

    forgotten.write_text("gone.example  # by their letter of Monday\n")
    crawl.write_links([*web.kept, web.moved])  # as merge-links leaves them
    seen = len(web.server.log)
    crawl.run()
    asked = {(r.host, r.path) for r in web.server.log[seen:] if r.path != "/robots.txt"}
    assert asked == {("a.example", "/moved")}
    rows = crawl.rows()
    assert rows["outcome"].to_dict() == {
        **dict.fromkeys(web.kept, "ok"),
        web.moved: "forgotten",
    }
    assert rows.loc[web.moved, "final_url"] == web.moved
    left = kept_bytes(crawl.folder / "out")
    assert SECRET not in left and left.count(KEPT) == len(web.kept) * 2  # a hard link has them too
    assert crawl.has_ended()


def test_a_link_that_is_forgotten_is_not_asked_for_even_if_the_table_has_it(
    web: Web, tmp_path: Path
) -> None:
    forgotten = tmp_path / "forgotten.txt"
    forgotten.write_text(
        f"{web.gone[0].replace('http', 'https')}\n"
    )  # the page in another spelling
    crawl = Crawl(tmp_path / "crawl", [*web.kept, *web.gone], "--forgotten", forgotten)
    crawl.run()
    assert web.server.asked("gone.example") == []
    outcomes = crawl.rows()["outcome"].to_dict()
    assert outcomes == {
        **dict.fromkeys([*web.kept, web.gone[1]], "ok"),  # another page of another host
        web.gone[0]: "forgotten",
    }
