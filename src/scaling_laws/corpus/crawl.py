"""One shard of the links, fetched into a WARC file: robots obeyed, every outcome kept."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scrapy
from OpenSSL import SSL
from scrapy import signals
from scrapy.crawler import Crawler, CrawlerProcess
from scrapy.downloadermiddlewares.robotstxt import RobotsTxtMiddleware
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadTimeoutError,
    IgnoreRequest,
    ResponseDataLossError,
)
from scrapy.http import Request, Response
from scrapy.resolver import CachingThreadedResolver
from scrapy.robotstxt import RobotParser
from service_identity import VerificationError
from twisted.internet.error import DNSLookupError
from twisted.internet.task import LoopingCall
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from scaling_laws.errors import InputError
from scaling_laws.output import atomic
from scaling_laws.progress import SECONDS_BETWEEN_LINES
from scaling_laws.sample.server import replay

log = logging.getLogger(__name__)

HTML_TYPES = {"text/html", "application/xhtml+xml"}

OUTCOMES = pa.schema(
    {
        "url_id": pa.string(),
        "url": pa.string(),
        "final_url": pa.string(),
        "outcome": pa.string(),
        "status": pa.int16(),
        "content_type": pa.string(),
        "bytes": pa.int64(),
        "attempts": pa.int16(),
        "fetched_at": pa.timestamp("us", tz="UTC"),
        "seconds": pa.float64(),
    }
)

# What a proxy that speaks RFC 9209 says of the server behind it.
PROXY_ERRORS = {
    "dns_error": "dns",
    "dns_timeout": "dns",
    "destination_ip_prohibited": "blocked_address",
    "connection_timeout": "timeout",
    "http_response_timeout": "timeout",
    "tls_protocol_error": "tls",
    "tls_certificate_error": "tls",
    "tls_alert_received": "tls",
    "http_response_incomplete": "truncated",
    "http_response_body_size": "too_large",
}

# Scrapy gives one exception for several reasons; its message tells them apart.
IGNORED = {
    "Forbidden by robots.txt": "robots",
    "max redirections reached": "redirects",
    "Ignored response": "too_large",  # grew past the limit when it was decompressed
}


class Link(NamedTuple):
    """A page to fetch."""

    url_id: str
    url: str


def crawl(
    links: Path,
    *,
    shard: int,
    warc: Path,
    outcomes: Path,
    proxy: str | None = None,
    site: Path | None = None,
    user_agent: str,
    concurrency: int = 32,
    concurrency_per_host: int = 8,
    delay: float = 0.0,
    timeout: float = 5.0,
    retries: int = 1,
    redirects: int = 5,
    maximum_bytes: int = 4_000_000,
) -> dict[str, object]:
    """Fetch the pages of one shard of the links.

    The WARC file has one response record for each page with outcome `ok`, in the order in which
    they came: address after redirects, status line and headers, body without its transfer and
    content encodings, and the link's `url_id` in `X-Url-Id`. The outcomes have one row a link, by
    `url_id`; `seconds` runs from the first request to the end, with waits, retries and redirects.

    Addresses that are not public are never asked for; behind a proxy, names are the proxy's to
    resolve, so only literal addresses can be refused.

    Args:
        links: Parquet file of the links, with `url_id`, `url` and `shard`.
        shard: The shard to fetch.
        warc: WARC file of the pages, compressed record by record.
        outcomes: Parquet file of what became of each link.
        proxy: HTTP proxy as a URL; "sample" for the replay server of `site`; absent for none.
        site: Archive of the sample web.
        user_agent: What servers see, and what robots.txt has rules for.
        concurrency: Requests under way at once.
        concurrency_per_host: Requests under way at once to one host.
        delay: Seconds between two requests to one host.
        timeout: Seconds after which a response is given up.
        retries: Further attempts after a failure that may pass.
        redirects: Redirects that are followed for one link.
        maximum_bytes: Largest body, compressed or not, that is kept.

    Raises:
        InputError: The links file, the proxy or the archive cannot be used.
    """
    wanted = read_links(links, shard)
    polite = {
        "USER_AGENT": user_agent,
        "ROBOTSTXT_OBEY": True,
        "CONCURRENT_REQUESTS": concurrency,
        "CONCURRENT_REQUESTS_PER_DOMAIN": concurrency_per_host,
        "DOWNLOAD_DELAY": delay,
        "DOWNLOAD_TIMEOUT": timeout,
        "DNS_TIMEOUT": timeout,
        "RETRY_TIMES": retries,
        "REDIRECT_MAX_TIMES": redirects,
        "DOWNLOAD_MAXSIZE": maximum_bytes,
    }
    started = time.monotonic()
    with (
        atomic(outcomes) as partial_outcomes,
        atomic(warc) as partial_warc,
        partial_warc.open("wb") as file,
        proxy_address(proxy, site) as address,
    ):
        rows = fetch(wanted, PageArchive(file, user_agent), polite, address)
        rows.sort(key=lambda row: row["url_id"])
        if [row["url_id"] for row in rows] != sorted(link.url_id for link in wanted):
            raise SystemExit(
                f"crawl: shard {shard} ended with {len(rows)} of {len(wanted)} links; "
                "nothing was written"
            )
        pq.write_table(pa.Table.from_pylist(rows, OUTCOMES), partial_outcomes, compression="zstd")
    seconds = time.monotonic() - started
    return {
        "shard": shard,
        "links": len(rows),
        "outcomes": dict(Counter(row["outcome"] for row in rows).most_common()),
        "bytes": sum(row["bytes"] for row in rows),
        "seconds": round(seconds, 1),
        "links_per_second": round(len(rows) / seconds, 1),
    }


def read_links(path: Path, shard: int) -> list[Link]:
    """Return the links of a shard, in the order of their hashes, so that hosts take turns.

    Raises:
        InputError: The file is missing, lacks a column, repeats a `url_id`, or has an address that
            is not http or https.
    """
    try:
        table = pd.read_parquet(path, columns=["url_id", "url", "shard"])
    except FileNotFoundError:
        raise InputError(f"{path} is missing; make it with: scaling-laws links") from None
    except (pa.ArrowInvalid, pa.ArrowKeyError, KeyError) as error:
        raise InputError(
            f"{path}: {error}; expected a Parquet file with the columns url_id, url and shard"
        ) from None
    table = table[table["shard"] == shard].sort_values("url_id")
    for url_id in table.loc[table["url_id"].duplicated(), "url_id"]:
        raise InputError(f"{path}: url_id {url_id} stands on two rows, expected one")
    for url in table.loc[~table["url"].str.match(r"https?://[^/]"), "url"] if len(table) else []:
        raise InputError(f"{path}: found url {url!r}, expected an http or https address")
    return [Link(url_id, url) for url_id, url in zip(table["url_id"], table["url"], strict=True)]


def proxy_address(proxy: str | None, site: Path | None) -> AbstractContextManager[str | None]:
    """Return a context with the address of the proxy to use: the replay server's, if asked for."""
    if proxy == "sample":
        if site is None:
            raise InputError("--proxy sample needs the archive that it serves: give --site FILE")
        return replay(site)
    if proxy is not None and not re.match(r"https?://[^/]", proxy):
        raise InputError(f"crawl.proxy: found {proxy!r}, expected an http URL, 'sample' or null")
    return nullcontext(proxy)


def fetch(
    links: Sequence[Link], archive: PageArchive, polite: dict[str, Any], proxy: str | None
) -> list[dict[str, Any]]:
    """Fetch `links`, write the pages to `archive` and return the outcomes, a row a link.

    Twisted's reactor runs once in a process, and so does this.

    Args:
        links: What to fetch.
        archive: Where pages go.
        polite: Scrapy's settings for the load on servers and what is given up.
        proxy: Address of the HTTP proxy.
    """
    rows: list[dict[str, Any]] = []
    if not links:
        return rows
    logging.disable(logging.INFO)  # versions and settings, which no logger's level would stop
    process = CrawlerProcess(
        {
            "DOWNLOADER_MIDDLEWARES": {
                RobotsTxtMiddleware: None,
                Robots: 100,
                Gate: 740,  # before Scrapy's own for proxies
            },
            "GATE_PROXY": proxy,
            "HTTPPROXY_ENABLED": proxy is not None,
            "TWISTED_DNS_RESOLVER": CachingThreadedResolver if proxy else PublicResolver,
            "DOWNLOAD_VERIFY_CERTIFICATES": True,
            "DOWNLOAD_HANDLERS": {"data": None, "file": None, "ftp": None, "s3": None},
            "DOWNLOAD_WARNSIZE": 0,
            "HTTPERROR_ALLOW_ALL": True,
            "COOKIES_ENABLED": False,
            "TELNETCONSOLE_ENABLED": False,
            "REMOTE_CONTROL_ENABLED": False,
            "LOG_INSTALL_ROOT_HANDLER": False,
            **polite,
        }
    )
    logging.disable(logging.NOTSET)
    logging.getLogger("scrapy").setLevel(logging.WARNING)
    for single_failures in ("scrapy.core.downloader", "scrapy.downloadermiddlewares"):
        logging.getLogger(single_failures).setLevel(logging.CRITICAL)  # the outcomes have them
    process.crawl(Fetcher, links, archive, rows)
    process.start()
    return rows


class Fetcher(scrapy.Spider):
    """Scrapy's side of `fetch`: a request a link, a row a request."""

    name = "crawl"

    def __init__(
        self, links: Sequence[Link], archive: PageArchive, rows: list[dict[str, Any]]
    ) -> None:
        """Take what `fetch` was given, and the list to append outcomes to."""
        super().__init__()
        self.links = links
        self.archive = archive
        self.rows = rows

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Fetcher:
        """Return the spider, with progress lines while it is open."""
        spider: Fetcher = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.opened, signals.spider_opened)
        return spider

    def opened(self) -> None:
        """Start the progress lines; not before, since the clock they take is the reactor's."""
        self.progress = LoopingCall(self.report, time.monotonic())
        self.progress.start(SECONDS_BETWEEN_LINES, now=False)

    def closed(self, reason: str) -> None:
        """Stop the progress lines; Scrapy calls this at the end."""
        self.progress.stop()

    async def start(self) -> AsyncIterator[Request]:
        """Yield a request a link; two links may end at one page, so none is filtered."""
        for link in self.links:
            yield Request(
                link.url,
                callback=self.answered,
                errback=self.failed,
                dont_filter=True,
                meta={"link": link},
            )

    def answered(self, response: Response) -> None:
        """Keep a page and its outcome."""
        outcome = outcome_of_response(response)
        if outcome == "ok":
            self.archive.write(response.meta["link"], response)
        assert response.request is not None  # what came from a request has one
        self.record(
            response.request,
            outcome,
            status=response.status,
            content_type=header(response, "Content-Type") or None,
            bytes=len(response.body),
        )

    def failed(self, failure: Any) -> None:
        """Keep the outcome of a link that gave no response."""
        host = urlsplit(failure.request.url).hostname or ""
        self.record(failure.request, outcome_of_error(failure.value, host), bytes=0)

    def record(self, request: Request, outcome: str, **seen: Any) -> None:
        """Append the row of a link."""
        link: Link = request.meta["link"]
        now = time.monotonic()
        self.rows.append(
            {
                "url_id": link.url_id,
                "url": link.url,
                "final_url": request.url,
                "outcome": outcome,
                "attempts": 1 + request.meta.get("retry_times", 0),
                "fetched_at": datetime.now(UTC),
                "seconds": now - request.meta.get("gate_passed", now),
                **seen,
            }
        )

    def report(self, started: float) -> None:
        """Log how far the crawl is."""
        counts = Counter(row["outcome"] for row in self.rows)
        log.info(
            "crawl: %d of %d links, %.1f per second; %s",
            len(self.rows),
            len(self.links),
            len(self.rows) / (time.monotonic() - started),
            ", ".join(f"{outcome} {count}" for outcome, count in counts.most_common()),
        )


def outcome_of_response(response: Response) -> str:
    """Return the outcome of a link that a server or the proxy answered."""
    error = re.search(r"error=([a-z_]+)", header(response, "Proxy-Status"))
    if error and response.status in {502, 503, 504} and "proxy" in response.meta:
        return PROXY_ERRORS.get(error[1], "connection")
    if response.status != 200:
        return "http_error"
    media_type = header(response, "Content-Type").partition(";")[0].strip().lower()
    return "ok" if media_type in HTML_TYPES else "wrong_type"


def header(response: Response, name: str) -> str:
    """Return a header of a response, or the empty string."""
    return (response.headers.get(name) or b"").decode("latin-1")


def outcome_of_error(error: BaseException, host: str) -> str:
    """Return the outcome of a link to `host` that ended with an exception instead of an answer."""
    if isinstance(error, BlockedAddressError):
        return "blocked_address"
    if isinstance(error, IgnoreRequest):
        return next(
            (outcome for start, outcome in IGNORED.items() if str(error).startswith(start)),
            "connection",
        )
    if isinstance(error, CannotResolveHostError):
        return "blocked_address" if host in PublicResolver.blocked else "dns"
    if isinstance(error, DownloadTimeoutError):
        return "timeout"
    if isinstance(error, DownloadCancelledError):  # Scrapy cancels when a body grows too large
        return "too_large"
    if isinstance(error, ResponseDataLossError):
        return "truncated"
    reasons = [reason.value for reason in getattr(error.__cause__, "reasons", [])]
    if any(isinstance(reason, SSL.Error | VerificationError) for reason in reasons):
        return "tls"
    return "connection"


class BlockedAddressError(IgnoreRequest):
    """A link leads into a private network or to this machine."""


class Robots(RobotsTxtMiddleware):
    """Scrapy's middleware for robots.txt, with one request of a host at a time.

    In Scrapy 2.19 the requests that wait for the same robots.txt share one Deferred. The first of
    them gets the rules from it and leaves None to the others, which are then sent unchecked.
    """

    def __init__(self, crawler: Crawler) -> None:
        """Keep a lock for each host."""
        super().__init__(crawler)
        self.locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def robot_parser(self, request: Request) -> RobotParser | None:
        """Return the rules of the host of `request`."""
        async with self.locks[urlsplit(request.url).netloc]:
            return await super().robot_parser(request)


class Gate:
    """Downloader middleware: what every request passes, those for robots.txt and redirects too."""

    def __init__(self, proxy: str | None) -> None:
        """Send requests through `proxy`, if there is one."""
        self.proxy = proxy

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Gate:
        """Return the gate to the proxy of the settings."""
        return cls(crawler.settings["GATE_PROXY"])

    def process_request(self, request: Request) -> None:
        """Refuse an address that is not public; send the rest through the proxy.

        Raises:
            BlockedAddressError: The host is such an address.
        """
        request.meta.setdefault("gate_passed", time.monotonic())
        host = urlsplit(request.url).hostname or ""
        if not is_public(host):
            raise BlockedAddressError(host)
        if self.proxy:
            request.meta["proxy"] = self.proxy


class PublicResolver(CachingThreadedResolver):
    """Scrapy's resolver, without the names that lead to addresses which are not public."""

    blocked: set[str] = set()  # noqa: RUF012 - Scrapy makes the only instance

    def getHostByName(self, name: str, timeout: Sequence[int] = ()) -> Any:
        """Return the deferred address of `name`."""
        return super().getHostByName(name, timeout).addCallback(self._public, name)

    def _public(self, address: str, name: str) -> str:
        if is_public(address):
            return address
        self.blocked.add(name)
        raise DNSLookupError(f"{name} has the address {address}, which is not public")


def is_public(host: str) -> bool:
    """Tell whether `host` is a name or a public address, not one of a private network.

    Short and numeric forms of IPv4 addresses, such as 127.1, count as the addresses they are.
    """
    if host == "localhost" or host.endswith(".localhost"):
        return False
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    try:
        address = ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return True
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_global and not address.is_multicast


class PageArchive:
    """A WARC file (ISO 28500) of fetched pages."""

    def __init__(self, file: BinaryIO, user_agent: str) -> None:
        """Begin the file with a record of how it was made."""
        self.writer = WARCWriter(file, gzip=True)
        about = {"software": "scaling-laws", "robots": "obey", "http-header-user-agent": user_agent}
        self.writer.write_record(self.writer.create_warcinfo_record("", about))

    def write(self, link: Link, response: Response) -> None:
        """Append a response record: `response` as it was before any encoding for transfer."""
        # Scrapy has removed Content-Encoding with the encoding, and leaves both when it cannot.
        dropped = {b"transfer-encoding", b"content-length"}
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, values in response.headers.items()
            for value in values
            if name.lower() not in dropped
        ]
        headers.append(("Content-Length", str(len(response.body))))
        record = self.writer.create_warc_record(
            response.url,
            "response",
            payload=BytesIO(response.body),
            http_headers=StatusAndHeaders(f"{response.status} OK", headers, protocol="HTTP/1.1"),
            warc_headers_dict={"X-Url-Id": link.url_id},
        )
        self.writer.write_record(record)
