"""The crawl against a bare aiohttp client that saves bodies to files, from the same server.

Usage: python benchmarks/crawl.py

The server is a forward proxy on loopback, a process of its own, with a web of many hosts whose
pages are of 5 to 60 kB, half of them sent compressed. Both clients go through it with as many
requests under way; ours has no delay, obeys robots.txt, keeps its journal and writes WARC records.
What is measured is the CPU time of the client's work after its imports.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import multiprocessing
import random
import tempfile
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import aiohttp
import pandas as pd

from bars import Bar, cpu_seconds, peak_memory, show
from scaling_laws.corpus.crawl.crawl import crawl

HOSTS, PAGES_PER_HOST, MOST_LINKS = 200, 15, 12_000
CONCURRENCY = 64
REPEATS = 5
WORDS = 4000
Client = Callable[[Path, list[str], str], None]
ROBOTS = b"User-agent: *\nDisallow: /private/\nDisallow: /search\nAllow: /search/about\n"


def bodies() -> list[bytes]:
    """Return pages of HTML, of 5 to 60 kB, from a generator with a seed."""
    chance = random.Random(0)
    letters = "etaoinshrdlucmfwypvbgk"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(WORDS)]
    weights = [1 / (rank + 5) for rank in range(WORDS)]

    def paragraph() -> str:
        text = " ".join(chance.choices(words, weights, k=60))
        return f'<p class="story"><a href="/{chance.choice(words)}.html">{text}</a></p>\n'

    def page(size: int) -> bytes:
        html = "<html><head><title>News</title></head><body>\n"
        while len(html) < size:
            html += paragraph()
        return (html + "</body></html>").encode()

    return [page(chance.randint(5_000, 60_000)) for _ in range(200)]


def serve(ready: Connection) -> None:
    """Answer proxy requests until the process is ended; tell the port first."""
    answers = []
    for body in bodies():
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nServer: bench\r\n"
        for encoding, data in (("", body), ("Content-Encoding: gzip\r\n", gzip.compress(body, 6))):
            head_bytes = f"{head}{encoding}Content-Length: {len(data)}\r\n\r\n".encode()
            answers.append(head_bytes + data)
    robots = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(ROBOTS)}\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                address = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
                if address.endswith(b"/robots.txt"):
                    writer.write(robots.encode() + ROBOTS)
                else:
                    number = int(address.rpartition(b"-")[2])
                    writer.write(answers[number % len(answers)])
                await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1000)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def bare(folder: Path, urls: list[str], proxy: str) -> None:
    """Save every page, with as many requests under way as ours has."""

    async def run() -> None:
        left = iter(enumerate(urls))

        async def work(session: aiohttp.ClientSession) -> None:
            for number, url in left:
                async with session.get(url, proxy=proxy) as response:
                    body = await response.read()
                (folder / f"{number}.html").write_bytes(body)

        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(work(session) for _ in range(CONCURRENCY)))

    asyncio.run(run())


def ours(folder: Path, urls: list[str], proxy: str) -> None:
    """Crawl every page."""
    logging.disable(logging.INFO)
    links = folder / "links.parquet"
    pd.DataFrame({"url_id": [f"{n:032x}" for n in range(len(urls))], "url": urls}).to_parquet(links)
    statistics = crawl(
        links,
        warc=folder / "0.warc.gz",
        outcomes=folder / "0.parquet",
        proxy=proxy,
        user_agent="scaling-laws/0.1",
        contact="https://scaling-laws.org/crawl",
        concurrency=CONCURRENCY,
        timeout=60.0,
    )
    assert statistics["outcomes"] == {"ok": len(urls)}, statistics


def measured(client: Client, urls: list[str], proxy: str) -> tuple[float, float]:
    """Return the CPU seconds of a client's work and its peak memory in MB, in a new process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=report, args=(there, client, Path(folder), urls, proxy))
        process.start()
        there.close()
        found: tuple[float, float] = here.recv()
        process.join()
    return found


def report(result: Connection, client: Client, folder: Path, urls: list[str], proxy: str) -> None:
    """Let a client work, and send what that took."""
    before = cpu_seconds()
    client(folder, urls, proxy)
    result.send((cpu_seconds() - before, peak_memory() / 1e6))


def addresses(count: int) -> list[str]:
    """Return so many addresses, of as many hosts as there are."""
    return [f"http://host{n % HOSTS}.bench/page-{n}" for n in range(count)]


def measure() -> list[Bar]:
    """Return pages a CPU second of ours over the bare client's, and the memory of more links."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there,), daemon=True)
    server.start()
    proxy = f"http://127.0.0.1:{here.recv()}"
    try:
        urls = addresses(HOSTS * PAGES_PER_HOST)
        pairs = [
            (measured(bare, urls, proxy)[0], measured(ours, urls, proxy)[0]) for _ in range(REPEATS)
        ]
        few, many = (
            measured(ours, addresses(links), proxy)[1] for links in (MOST_LINKS // 12, MOST_LINKS)
        )
    finally:
        server.terminate()
        server.join()
    ratio = median(other / own for other, own in pairs)
    theirs_rate, own_rate = (len(urls) / median(times) for times in zip(*pairs, strict=True))
    return [
        Bar(
            "crawl",
            "pages per CPU second, of a bare aiohttp client's that saves bodies",
            ratio,
            ">= 0.5",
            ratio >= 0.5,
            f"{own_rate:.0f} of {theirs_rate:.0f} pages a CPU second, with robots.txt of {HOSTS} "
            f"hosts, WARC and journal; {len(urls)} pages, {REPEATS} repeats",
        ),
        Bar(
            "crawl",
            "peak memory in MB",
            many,
            "<= 800",
            many <= 800,
            f"{few:.0f} MB with {MOST_LINKS // 12} links, {many:.0f} MB with {MOST_LINKS}",
        ),
    ]


if __name__ == "__main__":
    show(measure())
