"""The replay server: an HTTP forward proxy on loopback that answers from the sample's archive."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from aiohttp import web

from scaling_laws.errors import InputError
from scaling_laws.ledger import reading

SLOW_SECONDS = 30.0
"""Wait before the answer of a slow page; longer than any sensible timeout, and no longer."""
OVERSIZED_BYTES = 64 * 2**20
"""Body of an oversized page."""
BLOCK_BYTES = 2**16

# What RFC 9209 calls the failures that a forward proxy reports for the server behind it.
PROXY_ERRORS = {"connection_refused", "tls_certificate_error"}

COLUMNS = ["url", "status", "content_type", "location", "body", "fault"]

Answer = web.StreamResponse


@contextmanager
def replay(site: Path) -> Iterator[str]:
    """Serve the archive `site` while the block runs; yield the proxy's address.

    The server has a thread and an event loop of its own, so it needs none of the caller.

    Raises:
        InputError: The archive is missing or is none.
    """
    archive = Archive(site)
    started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = Thread(target=lambda: asyncio.run(_serve(archive, started)), daemon=True)
    thread.start()
    address, loop, stop = started.result()
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _serve(
    archive: Archive, started: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]]
) -> None:
    # A client that hangs up ends the handler, and so does the end of the crawl: a slow page would
    # otherwise keep the server up.
    server = web.Server(archive.answer, access_log=None, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0)
    try:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
    except OSError as error:
        started.set_exception(error)
        raise
    stop = asyncio.Event()
    host, port = runner.addresses[0][:2]
    started.set_result((f"http://{host}:{port}", asyncio.get_running_loop(), stop))
    await stop.wait()
    await runner.cleanup()


class Archive:
    """The pages of a site archive, and how each is answered.

    A page's `fault` is what goes wrong after the request: `slow`, `busy_once`, `closed`,
    `truncated`, `truncated_chunks`, `oversized`, `endless`, or one of `PROXY_ERRORS`.
    """

    def __init__(self, site: Path) -> None:
        """Read the archive into memory.

        Raises:
            InputError: `site` is missing or lacks a column.
        """
        try:
            self.table = pq.read_table(reading(site), columns=COLUMNS)
        except FileNotFoundError:
            raise InputError(f"{site} is missing; build it with: scaling-laws sample") from None
        except pa.ArrowInvalid as error:
            raise InputError(f"{site} is no archive of the sample web: {error}") from None
        absent = sorted(set(COLUMNS) - set(self.table.column_names))
        if absent:
            raise InputError(f"{site} is no archive of the sample web: no column {absent[0]}")
        urls = self.table["url"].to_pylist()
        self.rows = {_key(url): row for row, url in enumerate(urls)}
        self.hosts = {_host(url) for url in urls}
        self.visited: set[str] = set()

    async def answer(self, request: web.BaseRequest) -> Answer:
        """Return the answer to a proxy request: the page, or what a proxy says without one."""
        address = request.raw_path
        if request.method not in {"GET", "HEAD"}:
            return _refusal(501, f"{request.method} is not served: no TLS, no uploads.")
        if not address.lower().startswith("http://"):
            return _refusal(400, "This is a forward proxy: ask for a whole http address.")
        if _host(address) not in self.hosts:
            return _proxy_error("dns_error")
        row = self.rows.get(_key(address))
        if row is None:
            return _refusal(404, "No such page.")
        (page,) = self.table.slice(row, 1).to_pylist()
        return await self._with_fault(page, request)

    async def _with_fault(self, page: dict[str, Any], request: web.BaseRequest) -> Answer:
        fault = page["fault"]
        if fault == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        elif fault == "busy_once" and page["url"] not in self.visited:
            self.visited.add(page["url"])
            return _refusal(503, "Busy; come again.")
        elif fault in PROXY_ERRORS:
            return _proxy_error(fault)
        elif fault == "closed":
            return _cut(web.StreamResponse(), request)
        elif fault in {"truncated", "truncated_chunks"}:
            return await _truncated(page, request, chunked=fault == "truncated_chunks")
        elif fault in {"oversized", "endless"}:
            return await _oversized(page, request, chunked=fault == "endless")
        return _whole(page, request)


def _whole(page: dict[str, Any], request: web.BaseRequest) -> web.Response:
    """Return a page as a server sends it, compressed when the client takes that."""
    headers = _headers(page)
    body = page["body"]
    if page["location"]:
        headers["Location"] = page["location"]
    if body and "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, compresslevel=1, mtime=0)
    return web.Response(status=page["status"], headers=headers, body=body)


async def _truncated(page: dict[str, Any], request: web.BaseRequest, chunked: bool) -> Answer:
    """Send half of what the headers announce, or chunks without an end, and hang up."""
    response = web.StreamResponse(headers=_headers(page))
    if chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = 2 * len(page["body"])
    await response.prepare(request)
    await response.write(page["body"])
    return _cut(response, request)


async def _oversized(page: dict[str, Any], request: web.BaseRequest, chunked: bool) -> Answer:
    """Send 64 MiB, announced or not, as long as the client listens."""
    response = web.StreamResponse(headers=_headers(page))
    if chunked:
        response.enable_chunked_encoding()
    else:
        response.content_length = OVERSIZED_BYTES
    block = (page["body"] * (BLOCK_BYTES // len(page["body"]) + 1))[:BLOCK_BYTES]
    try:
        await response.prepare(request)
        for _ in range(OVERSIZED_BYTES // BLOCK_BYTES):
            await response.write(block)
    except ConnectionError:
        return _cut(response, request)
    return response


def _cut(response: Answer, request: web.BaseRequest) -> Answer:
    """Close the connection without what is missing of `response`."""
    if request.transport:
        request.transport.close()
    return response


def _headers(page: dict[str, Any]) -> dict[str, str]:
    return {"Content-Type": page["content_type"]} if page["content_type"] else {}


def _refusal(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text)


def _proxy_error(error: str) -> web.Response:
    return web.Response(status=502, headers={"Proxy-Status": f"replay; error={error}"}, text=error)


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").removeprefix("www.")


def _key(url: str) -> object:
    """Return what two addresses of one page share: as sites do, `www.` and order are ignored."""
    parts = urlsplit(url)
    query = tuple(sorted(parse_qsl(parts.query, keep_blank_values=True)))
    return _host(url), unquote(parts.path) or "/", query
