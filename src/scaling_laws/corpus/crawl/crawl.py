"""One shard of the links, fetched into a WARC file: robots obeyed, every outcome kept."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from ipaddress import ip_network
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from scaling_laws.contact import is_contact
from scaling_laws.corpus.crawl.addresses import Gate
from scaling_laws.corpus.crawl.archives import find_archived
from scaling_laws.corpus.crawl.fetch import open_client
from scaling_laws.corpus.crawl.frontier import Frontier
from scaling_laws.corpus.crawl.journal import open_journal, write_outputs
from scaling_laws.corpus.crawl.politeness import shared_hosts
from scaling_laws.corpus.crawl.shard import Shard
from scaling_laws.corpus.crawl.visits import Limits, Visitor
from scaling_laws.corpus.forgotten import Forgotten
from scaling_laws.errors import InputError
from scaling_laws.ledger import sha256
from scaling_laws.sample.server import replay
from scaling_laws.tables import open_table


def crawl(
    links: Path,
    *,
    warc: Path,
    outcomes: Path,
    proxy: str | None = None,
    site: Path | None = None,
    user_agent: str,
    contact: str | None = None,
    archives: list[Path] | None = None,
    hosts: Path | None = None,
    concurrency: int = 32,
    concurrency_per_host: int = 8,
    delay: float = 0.0,
    maximum_delay: float = 60.0,
    timeout: float = 5.0,
    retries: int = 1,
    redirects: int = 5,
    maximum_bytes: int = 4_000_000,
    allowed_networks: list[str] | None = None,
    forgotten: Path | None = None,
) -> dict[str, object]:
    """Fetch the pages of one shard of the links.

    The WARC file has one response record for each page with outcome `ok`, by `url_id`: address
    after redirects, status line and headers, body without its transfer and content encodings, and
    the link's `url_id` in `X-Url-Id`. The outcomes have one row a link, by `url_id`; `seconds` runs
    from the first request to the end, with waits, retries and redirects.

    Every site's robots.txt is obeyed (RFC 9309), and no address is asked that is not public;
    behind a proxy, names are the proxy's to resolve, so only literal addresses can be refused.

    A crawl that is stopped or killed keeps what it has in a journal beside the WARC file, and the
    same command continues from there. The journal of one that has ended keeps its pages, by a hard
    link to the WARC file: crawled again, by other links, timeout, retries or pace, it asks for what
    failed and what is new. Pages that are forgotten by then are in no file of it afterwards.

    Args:
        links: Parquet file of the shard's links, with `url_id` and `url`.
        warc: WARC file of the pages, compressed record by record.
        outcomes: Parquet file of what became of each link.
        proxy: HTTP proxy as a URL; "sample" for the replay server of `site`; absent for none.
        site: Archive of the sample web.
        user_agent: What servers see; its product token, such as "scaling-laws", is what robots.txt
            has rules for.
        contact: E-mail or web address of who answers for the crawl, which servers see too; needed
            for all but the sample.
        archives: Indexes (`index-archive`) of pages that are taken from WARC files, not the web.
        hosts: File through which crawls that run together share the load on hosts.
        concurrency: Requests under way at once.
        concurrency_per_host: Requests under way at once to one host.
        delay: Seconds between two requests to one host, at least.
        maximum_delay: Largest Crawl-delay or Retry-After that is obeyed, in seconds; links that
            would have to wait longer are given up.
        timeout: Seconds after which a response is given up.
        retries: Further attempts after a failure that may pass.
        redirects: Redirects that are followed for one link.
        maximum_bytes: Largest body, compressed or not, that is kept.
        allowed_networks: Ranges of addresses (CIDR) that may be asked though they are not public.
        forgotten: Text file of URLs and domains that are not asked and not kept (`forget`), not
            even where redirects lead there; it need not exist.

    Raises:
        InputError: The links file, the proxy, an archive, the contact or the list of what is
            forgotten cannot be used.
    """
    excluded = Forgotten.read(forgotten)
    gate = Gate([ip_network(text) for text in allowed_networks or ()])
    agent = named_agent(user_agent, contact, live=proxy != "sample")
    wanted = read_links(links)
    started = time.monotonic()
    archived = [
        (link, entry)
        for link, entry in find_archived(archives or (), wanted["url_id"])
        if entry.url not in excluded and wanted["url"][link].as_py() not in excluded
    ]
    settings = {  # a crawl that was begun with others does not go on; patience may change
        "user_agent": agent,
        "proxy": proxy,
        # By content, so that a crawl goes on in a copy of the results, too.
        "site": sha256(site) if site and site.exists() else None,
        "redirects": redirects,
        "maximum_bytes": maximum_bytes,
        "allowed_networks": allowed_networks or [],
    }
    limits = Limits(maximum_delay, retries, redirects, maximum_bytes)
    with (
        termination_as_interrupt(),
        proxy_address(proxy, site) as address,
        shared_hosts(hosts, concurrency_per_host) as shared,
        open_journal(warc, settings, excluded) as journal,
    ):
        shard = Shard(wanted, journal)
        resumed = shard.resume()
        try:
            shard.take_archived(archived, maximum_bytes)
            frontier = Frontier(concurrency_per_host, delay)
            for host, numbers in shard.by_host():
                frontier.add_links(host, numbers)

            async def fetch() -> None:
                # Names are looked up in threads.
                asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(concurrency))
                async with open_client(gate, address, agent, timeout) as client, shard.progress():
                    visitor = Visitor(
                        shard, frontier, client, gate, shared, user_agent, limits, excluded
                    )
                    await visitor.visit_all(concurrency)

            asyncio.run(fetch())
            kept = sum(row.bytes for row in write_outputs(journal, shard.places, warc, outcomes))
        except KeyboardInterrupt:
            raise SystemExit(
                f"crawl: stopped with {shard.done} of {len(wanted)} links done; "
                "running it again continues"
            ) from None
    seconds = time.monotonic() - started
    return {
        "links": len(wanted),
        "resumed": resumed,
        "outcomes": dict(shard.outcomes.most_common()),
        "bytes": kept,
        "seconds": round(seconds, 1),
        "links_per_second": round((len(wanted) - resumed) / seconds, 1),
        **excluded.told(),
    }


def read_links(path: Path) -> pa.Table:
    """Return the columns `url_id` and `url` of a shard's links, by `url_id`.

    Raises:
        InputError: The file is missing, lacks a column, repeats a `url_id`, or has an address that
            is not http or https.
    """
    if not path.exists():
        raise InputError(f"{path} is missing; make it with: scaling-laws links")
    table = open_table(path, ("url_id", "url")).read(columns=["url_id", "url"])
    table = table.select(["url_id", "url"]).cast(
        pa.schema({"url_id": pa.string(), "url": pa.string()})
    )
    table = table.sort_by("url_id").combine_chunks()
    names = table["url_id"]
    if names.null_count:
        raise InputError(f"{path}: a row has no url_id")
    if len(names) > 1:
        for url_id in names[1:].filter(pc.equal(names[1:], names[:-1])).to_pylist():
            raise InputError(f"{path}: url_id {url_id} stands on two rows, expected one")
    wrong = pc.invert(pc.match_substring_regex(table["url"], "^https?://[^/]"))
    for url in table["url"].filter(pc.fill_null(wrong, True)).to_pylist():
        raise InputError(f"{path}: found url {url!r}, expected an http or https address")
    return table


def proxy_address(proxy: str | None, site: Path | None) -> AbstractContextManager[str | None]:
    """Return a context with the address of the proxy to use: the replay server's, if asked for."""
    if proxy == "sample":
        if site is None:
            raise InputError("--proxy sample needs the archive that it serves: give --site FILE")
        return replay(site)
    return nullcontext(proxy)


def named_agent(user_agent: str, contact: str | None, live: bool) -> str:
    """Return the user agent that servers see, with the contact.

    Raises:
        InputError: The live web is crawled without a contact.
    """
    if live and not is_contact(contact):
        raise InputError(
            f"--contact {contact or ''!r} (crawl.contact): expected an e-mail or web address of "
            "your own: whoever is crawled must be able to reach you"
        )
    return f"{user_agent} (+{contact})" if contact else user_agent


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM be to the block what Ctrl-C is, also where a shell has that ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
