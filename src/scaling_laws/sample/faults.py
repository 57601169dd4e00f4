"""What goes wrong on the sample web, and what a crawl must make of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from scaling_laws.sample.pages import Page, layout

SITE = "http://faults.example"


class Faulty(NamedTuple):
    """An address that is linked to, and the outcome of crawling it."""

    url: str
    outcome: str


def faulty_links() -> list[Faulty]:
    """Return the links to faulty pages, at least one for each outcome that is not `ok`.

    Three end well: two redirects to one page and a server that is busy once.
    """
    paths = {
        "/moved.html": "ok",
        "/chain/1.html": "ok",
        "/busy-once.html": "ok",
        "/loop/a.html": "redirects",
        "/private/minutes.html": "robots",
        "/gone.html": "http_error",
        "/broken.html": "http_error",
        "/data.json": "wrong_type",
        "/feed.xml": "wrong_type",
        "/picture": "wrong_type",
        "/oversized.html": "too_large",
        "/endless.html": "too_large",
        "/slow.html": "timeout",
        "/truncated.html": "truncated",
        "/truncated-chunks.html": "truncated",
        "/closed.html": "connection",
        "/refused.html": "connection",
        "/certificate.html": "tls",
    }
    elsewhere = [
        Faulty("http://nowhere.example/story.html", "dns"),
        Faulty("http://192.168.1.10/admin.html", "blocked_address"),
    ]
    return [Faulty(SITE + path, outcome) for path, outcome in paths.items()] + elsewhere


def faulty_pages() -> list[Page]:
    """Return what the replay server holds for `faulty_links`; server.py plays the `fault` of each.

    Addresses that it does not hold answer 404 on a known host, and as an unknown name elsewhere.
    """

    def page(path: str, title: str = "Notes", **changes: object) -> Page:
        text = "<p>" + f"{title} from a site with faults, which the crawl meets. " * 12 + "</p>"
        body = layout(title, "faults.example", text, [])
        return Page(SITE + path, **{"body": body, **changes})  # type: ignore[arg-type]

    return [
        page("/story.html", "Where redirects end"),
        page("/moved.html", body=b"", status=301, location=f"{SITE}/story.html"),
        page("/chain/1.html", body=b"", status=302, location="/chain/2.html"),
        page("/chain/2.html", body=b"", status=307, location="/chain/3.html"),
        page("/chain/3.html", body=b"", status=301, location=f"{SITE}/story.html"),
        page("/busy-once.html", "Busy once", fault="busy_once"),
        page("/loop/a.html", body=b"", status=302, location="/loop/b.html"),
        page("/loop/b.html", body=b"", status=302, location="/loop/a.html"),
        page("/private/minutes.html", "Minutes"),
        page("/gone.html", "Gone", status=410),
        page("/broken.html", "Broken", status=500),
        page("/data.json", body=b'{"rows": []}', content_type="application/json"),
        page("/feed.xml", body=b"<rss version='2.0'/>", content_type="application/rss+xml"),
        page("/picture", body=b"\x89PNG\r\n\x1a\n" + bytes(64), content_type="image/png"),
        page("/oversized.html", fault="oversized"),
        page("/endless.html", fault="endless"),
        page("/slow.html", fault="slow"),
        page("/truncated.html", fault="truncated"),
        page("/truncated-chunks.html", fault="truncated_chunks"),
        page("/closed.html", fault="closed"),
        page("/refused.html", fault="connection_refused"),
        page("/certificate.html", fault="tls_certificate_error"),
    ]


def dead_links(pages: Sequence[Page], count: int, chance: random.Random) -> list[Faulty]:
    """Return `count` addresses on the sites of `pages` that they do not hold."""
    hosts = sorted({urlsplit(page.url).netloc for page in pages})
    return [
        Faulty(f"http://{chance.choice(hosts)}/removed/{number}.html", "http_error")
        for number in range(count if hosts else 0)
    ]


def robots(pages: Sequence[Page]) -> list[Page]:
    """Return the robots.txt of every site but one, which has none."""
    hosts = sorted({urlsplit(page.url).netloc for page in pages} - {"mirror.example"})
    rules = b"User-agent: *\nDisallow: /private/\nCrawl-delay: 0\n"
    return [Page(f"http://{host}/robots.txt", rules, content_type="text/plain") for host in hosts]
