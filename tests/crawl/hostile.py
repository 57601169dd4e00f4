"""A web of hosts each of which does one thing wrong, and what a crawl must make of it.

A host's robots.txt is answered with 404 unless it has its own. `PAGE` is what a page that should
come through holds.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple

import trustme
from crawling import TOKEN
from servers import ADDRESS, Request

TIMEOUT = 1.0
RETRIES = 1
REDIRECTS = 5
MAXIMUM_BYTES = 2_500_000
MAXIMUM_DELAY = 3.0
PAGE = b"<html><body><p>" + b"The ferry left before dawn, half full. " * 20 + b"</p></body></html>"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
LATIN = "<p>Le caf\u00e9 ferme t\u00f4t.</p>".encode("latin-1")
ROBOTS_BYTES = 500 * 1024
"""Of robots.txt so much is read (RFC 9309 section 2.5) and no more."""

Play = Callable[[Request], Awaitable[None]]


class Site(NamedTuple):
    """A host: how it answers, and the outcome of each path; `|` parts what is all right."""

    answer: Play
    robots: bytes | Play
    outcomes: Mapping[str, str]
    attempts: int | None
    scheme: str


SITES: dict[str, Site] = {}
PORTS: dict[str, int] = {}
"""The ports of the servers, by scheme; the test that starts them puts them here."""

NAMES = {
    "private.example": [["10.1.2.3"]],
    "private6.example": [["fd00::17"]],
    "loopback.example": [["127.0.0.1"]],
    "both.example": [[ADDRESS, "127.0.0.1"]],
    "both6.example": [[ADDRESS, "::1"]],
    "rebinds.example": [[ADDRESS], ["127.0.0.1"]],
    "unknown.example": [[]],
    "refused.example": [["127.8.0.2"]],
}
"""What the resolver says, where it is not the address of the servers."""


def url(host: str, path: str = "/page.html", scheme: str = "http") -> str:
    """Return the address of a page."""
    return f"{scheme}://{host}:{PORTS[scheme]}{path}"


def links() -> dict[str, str]:
    """Return every link of the hostile web with its outcome."""
    sites = {
        url(host, path, site.scheme): outcome
        for host, site in SITES.items()
        for path, outcome in site.outcomes.items()
    }
    http = PORTS["http"]
    inside = {
        f"http://{host}/": "blocked_address"
        for host in (
            f"127.0.0.1:{http}",
            f"127.1:{http}",
            f"0x7f.1:{http}",
            f"2130706433:{http}",
            f"017700000001:{http}",
            f"0.0.0.0:{http}",
            f"localhost:{http}",
            f"[::1]:{http}",
            f"[::]:{http}",
            f"[::ffff:127.0.0.1]:{http}",
            f"[::ffff:7f00:1]:{http}",
            f"[64:ff9b::7f00:1]:{http}",
            f"[64:ff9b::10.0.0.1]:{http}",
            f"[2002:7f00:1::1]:{http}",
            "[fd00::8]",
            "[fe80::1]",
            "10.1.2.3",
            "100.64.0.1",
            "224.0.0.1",
            "169.254.169.254",
            f"good.example@127.0.0.1:{http}",
        )
    }
    elsewhere = {
        url("private.example"): "blocked_address",
        url("private6.example"): "blocked_address",
        url("loopback.example"): "blocked_address",
        url("both.example"): "blocked_address",
        url("both6.example"): "blocked_address",
        url("rebinds.example"): "ok|blocked_address",
        url("unknown.example"): "dns",
        url("refused.example"): "connection",
        f"https://plain.example:{http}/page.html": "robots|tls",  # the server waits for HTTP
        f"http://user:secret@credentials.example:{http}/page.html": "ok",
        # What only some libraries take for an address of this machine.
        f"http://\uff11\uff12\uff17.0.0.1:{http}/": "blocked_address|dns|connection",
        f"http://127\u30020\u30020\u30021:{http}/": "blocked_address|dns|connection",
        f"http://[::1%25lo]:{http}/": "blocked_address|dns|connection",
        f"http://a.localhost:{http}/": "blocked_address|dns",
        # What no library takes for a host.
        f"http://{'a' * 70}.example:{http}/": "dns|connection|blocked_address",
        f"http://two..dots.example:{http}/": "dns|connection|blocked_address",
    }
    return sites | inside | elsewhere


async def answer(request: Request) -> None:
    """Answer as the host of the request does."""
    site = SITES.get(request.host)
    if request.path.partition("?")[0] != "/robots.txt":
        await (site.answer if site else plain)(request)
    elif site is None or site.robots == b"":
        await request.page(b"none", "text/plain", "404 Not Found")
    elif isinstance(site.robots, bytes):
        await request.page(site.robots, "text/plain")
    else:
        await site.robots(request)


def site(
    outcomes: str | Mapping[str, str],
    attempts: int | None = None,
    robots: bytes | Play = b"",
    scheme: str = "http",
) -> Callable[[Play], Play]:
    """Make a function the host of its name, `_` written `-`, under .example."""

    def add(play: Play) -> Play:
        paths = {"/page.html": outcomes} if isinstance(outcomes, str) else outcomes
        host = f"{play.__name__.replace('_', '-')}.example"
        SITES[host] = Site(play, robots, paths, attempts, scheme)
        return play

    return add


def fixed(host: str, outcome: str, data: bytes, attempts: int | None = None) -> None:
    """Add a host that sends `data` and hangs up."""

    async def play(request: Request) -> None:
        await request.send(data)
        request.close()

    SITES[f"{host}.example"] = Site(play, b"", {"/page.html": outcome}, attempts, "http")


def moved(host: str, outcome: str, location: str) -> None:
    """Add a host that redirects to `location`, in which {http} and {https} are the ports."""

    async def play(request: Request) -> None:
        if request.path == "/page.html":
            await request.redirect(location.format(**PORTS))
        else:
            await request.page(PAGE)

    SITES[f"{host}.example"] = Site(play, b"", {"/page.html": outcome}, None, "http")


async def plain(request: Request) -> None:
    """Answer with the page."""
    await request.page(PAGE)


# Slow.


@site("timeout", attempts=2)
async def silent(request: Request) -> None:
    await asyncio.sleep(20)


@site("timeout", attempts=2)
async def slow_headers(request: Request) -> None:
    await request.send(OK)
    for number in range(200):
        await request.send(b"X-Header-%d: and one more\r\n" % number)
        await asyncio.sleep(0.1)


@site("timeout", attempts=2)
async def slow_body(request: Request) -> None:
    await request.send(OK + b"Content-Length: 1000\r\n\r\n")
    for _ in range(1000):
        await request.send(b"a")
        await asyncio.sleep(0.1)


@site("timeout", attempts=2)
async def slow_chunks(request: Request) -> None:
    await request.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(200):
        await request.send(b"1\r\na\r\n")
        await asyncio.sleep(0.1)


@site("timeout|connection")
async def endless_continues(request: Request) -> None:
    for _ in range(2000):
        await request.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.01)


# Big.

BLOCK = b"<p>No end in sight.</p>\n" * 2730


async def endless(request: Request, head: bytes, chunked: bool = False) -> None:
    """Send up to 1 GB, as long as the client listens."""
    await request.send(OK + head + b"\r\n")
    block = b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK) if chunked else BLOCK
    for _ in range(10**9 // len(block)):
        await request.send(block)


@site("too_large", attempts=1)
async def endless_chunks(request: Request) -> None:
    await endless(request, b"Transfer-Encoding: chunked\r\n", chunked=True)


@site("too_large", attempts=1)
async def endless_length(request: Request) -> None:
    await endless(request, b"Content-Length: 1000000000000\r\n")


@site("too_large", attempts=1)
async def endless_until_close(request: Request) -> None:
    await endless(request, b"Connection: close\r\n")


def bomb(start: bytes, mebibytes: int = 2048) -> bytes:
    """Return `start` and a deflate stream that expands to so much, in a thousandth of it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + block * mebibytes + packer.flush()


GZIP_START = bytes.fromhex("1f8b08000000000000ff")
ZLIB_START = bytes.fromhex("789c")


@site("too_large", attempts=1)
async def gzip_bomb(request: Request) -> None:
    await request.page(bomb(GZIP_START), headers=["Content-Encoding: gzip"])


@site("too_large", attempts=1)
async def deflate_bomb(request: Request) -> None:
    await request.page(bomb(ZLIB_START), headers=["Content-Encoding: deflate"])


@site("too_large", attempts=1)
async def raw_deflate_bomb(request: Request) -> None:
    await request.page(bomb(b""), headers=["Content-Encoding: deflate"])


@site("too_large|wrong_type", attempts=1)
async def nested_bomb(request: Request) -> None:
    inner = gzip.compress(bomb(GZIP_START))
    await request.page(inner, headers=["Content-Encoding: gzip, gzip"])


@site("too_large|wrong_type", attempts=1)
async def chunked_nested_bomb(request: Request) -> None:
    inner = zlib.compress(bomb(ZLIB_START))
    await request.send(OK + b"Content-Encoding: deflate, deflate\r\nTransfer-Encoding: chunked\r\n")
    await request.send(b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner))


async def send_huge(request: Request, start: bytes, end: bytes) -> None:
    """Send 300 MB of one letter between `start` and `end`."""
    await request.send(start)
    for _ in range(300):
        await request.send(b"j" * 10**6)
    await request.send(end)


@site("connection|timeout")
async def huge_header(request: Request) -> None:
    await send_huge(request, OK + b"X-Junk: ", b"\r\nContent-Length: 0\r\n\r\n")


@site("connection|timeout")
async def many_headers(request: Request) -> None:
    await request.send(OK)
    for number in range(10**5):
        await request.send(b"".join(b"X-%d-%d: junk\r\n" % (number, n) for n in range(100)))
    await request.send(b"Content-Length: 0\r\n\r\n")


@site("connection|timeout")
async def huge_status_line(request: Request) -> None:
    await send_huge(request, b"HTTP/1.1 200 ", b"\r\n\r\n")


@site("ok|truncated|connection|timeout|too_large")
async def huge_trailer(request: Request) -> None:
    start = OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\nX-Trailer: "
    await send_huge(request, start, b"\r\n\r\n")


@site("ok")
async def some_headers(request: Request) -> None:
    await request.page(PAGE, headers=[f"X-Policy-{n}: {'p' * 100}" for n in range(60)])


# Redirects.

for number, (outcome, location) in enumerate(
    [
        ("blocked_address", "http://127.0.0.1:{http}/secret"),
        ("blocked_address", "http://169.254.169.254/latest/meta-data/"),
        ("blocked_address", "http://[::1]:{http}/secret"),
        ("blocked_address", "http://0x7f.1:{http}/secret"),
        ("blocked_address", "http://2130706433:{http}/secret"),
        ("blocked_address", "http://[::ffff:127.0.0.1]:{http}/secret"),
        ("blocked_address", "http://loopback.example:{http}/secret"),
        ("blocked_address", "//127.0.0.1:{http}/secret"),
        ("blocked_address", "https://127.0.0.1:{https}/secret"),
        ("blocked_address|redirects|http_error", "file:///etc/passwd"),
        ("blocked_address|redirects|http_error", "ftp://127.0.0.1:{http}/secret"),
        ("blocked_address|redirects|http_error", "javascript:alert(1)"),
        ("blocked_address|redirects|http_error", "data:text/html,hello"),
        ("blocked_address|redirects|http_error|dns|connection", "http://"),
        ("blocked_address|redirects|http_error|dns|connection", "http://[::1"),
        ("blocked_address|redirects|http_error|dns|connection", "http://a.example:99999/"),
        ("blocked_address|redirects|http_error|dns|connection", "http://a.example:port/"),
        ("blocked_address|redirects|http_error|dns|connection", f"http://{'a' * 70}.example/"),
        ("dns", "http://unknown.example:{http}/"),
        ("tls", "https://self-signed.example:{https}/page.html"),
        ("ok", "https://valid.example:{https}/elsewhere.html"),
        ("ok", "there.html"),
        ("ok", "/there.html?a=1&b=%C3%A9#part"),
        ("ok", "/caf\u00e9 with spaces.html"),  # sent as Latin-1
        ("ok", "//moved-to.example:{http}/there.html"),
        ("ok", "http://user:secret@moved-to.example:{http}/there.html"),
        ("robots", "http://keeps-out.example:{http}/secret.html"),
    ]
):
    moved(f"moved-{number}", outcome, location)


@site({}, robots=b"User-agent: *\nDisallow: /secret.html\n")
async def keeps_out(request: Request) -> None:
    await request.page(PAGE)


@site("redirects", attempts=1)
async def loop(request: Request) -> None:
    await request.redirect("/page.html")


@site({"/4": "ok", "/5": "ok", "/6": "redirects", "/40": "redirects"})
async def chain(request: Request) -> None:
    left = int(request.path[1:])
    await (request.redirect(f"/{left - 1}") if left else request.page(PAGE))


@site("http_error|redirects")
async def moved_nowhere(request: Request) -> None:
    await request.page(b"", None, "302 Found")


# Charsets, types, encodings.


@site("ok")
async def wrong_charset(request: Request) -> None:
    await request.page(LATIN, "text/html; charset=utf-8")


@site("ok")
async def unknown_charset(request: Request) -> None:
    await request.page(LATIN, 'text/html; charset="klingon')


@site("ok")
async def lies_of_html(request: Request) -> None:
    await request.page(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))


@site("wrong_type")
async def lies_of_png(request: Request) -> None:
    await request.page(PAGE, "image/png")


@site("wrong_type", attempts=1)
async def untyped(request: Request) -> None:
    await request.page(PAGE, None)


@site("wrong_type", attempts=1)
async def brotli(request: Request) -> None:
    await request.page(b"\x0b\x02\x80hello\x03", headers=["Content-Encoding: br"])


@site("ok")
async def gzipped(request: Request) -> None:
    await request.page(gzip.compress(PAGE), headers=["Content-Encoding: gzip"])


@site("ok")
async def gzipped_in_members(request: Request) -> None:
    body = gzip.compress(PAGE[:99]) + gzip.compress(PAGE[99:])
    await request.page(body, headers=["Content-Encoding: GZIP"])


@site("ok")
async def deflated(request: Request) -> None:
    await request.page(zlib.compress(PAGE), headers=["Content-Encoding: deflate"])


@site("ok")
async def deflated_raw(request: Request) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(PAGE) + packer.flush()
    await request.page(body, headers=["Content-Encoding: deflate"])


@site("ok")
async def identity(request: Request) -> None:
    await request.page(PAGE, headers=["Content-Encoding: identity"])


@site("truncated")
async def gzip_cut_off(request: Request) -> None:
    await request.page(gzip.compress(PAGE * 9)[:-40], headers=["Content-Encoding: gzip"])


@site("truncated|wrong_type|connection")
async def gzip_in_name_only(request: Request) -> None:
    await request.page(PAGE, headers=["Content-Encoding: gzip"])


@site("ok")
async def empty(request: Request) -> None:
    await request.page(b"")


# Broken responses.


@site("connection", attempts=2)
async def resets_at_once(request: Request) -> None:
    request.reset()


@site("connection", attempts=2)
async def hangs_up_at_once(request: Request) -> None:
    request.close()


@site("truncated", attempts=2)
async def resets_in_body(request: Request) -> None:
    await request.send(OK + b"Content-Length: 100000\r\n\r\n" + PAGE)
    await asyncio.sleep(0.1)
    request.reset()


fixed("short-body", "truncated", OK + b"Content-Length: 5000\r\n\r\n" + PAGE, attempts=2)
fixed("chunk-without-size", "truncated", OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", 2)
fixed("chunk-cut-off", "truncated", OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\nabc", 2)
fixed("no-last-chunk", "truncated", OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 2)
fixed(
    "chunk-of-exabytes",
    "truncated|too_large|connection",
    OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\nabc",
)
fixed("length-in-words", "connection|truncated", OK + b"Content-Length: many\r\n\r\n" + PAGE)
fixed("length-below-zero", "connection|truncated", OK + b"Content-Length: -5\r\n\r\n" + PAGE)
fixed(
    "header-without-colon",
    "ok|connection",
    OK + b"Just some words\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE,
)
fixed("folded-header", "ok|connection", OK + b"X-Long: a\r\n b\r\nConnection: close\r\n\r\n" + PAGE)
fixed("header-with-nul", "ok|connection", OK + b"X-Nul: a\0b\r\nConnection: close\r\n\r\n" + PAGE)
fixed("no-http", "connection", b"SSH-2.0-OpenSSH_9.6\r\n", attempts=2)
fixed("no-status", "connection", b"HTTP/1.1 fine\r\n\r\n" + PAGE)
fixed("http-1.0", "ok", b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE, attempts=1)
fixed(
    "bytes-in-headers",
    "ok",
    b"HTTP/1.1 200 Tr\xe8s bien\r\nContent-Type: text/html; charset=\xe9\xff\r\n"
    b"X-Name: caf\xe9 \xff\xfe\r\nConnection: close\r\n\r\n" + PAGE,
)
fixed("no-reason", "ok", OK.replace(b"200 OK", b"200") + b"Connection: close\r\n\r\n" + PAGE)
fixed(
    "early-hints",
    "ok",
    b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
    + OK
    + b"Connection: close\r\n\r\n"
    + PAGE,
)


@site("http_error", attempts=1)
async def status_999(request: Request) -> None:
    await request.page(PAGE, status="999 Request denied")


@site("http_error", attempts=1)
async def status_204(request: Request) -> None:
    await request.send(b"HTTP/1.1 204 No Content\r\n\r\n")


@site("http_error", attempts=1)
async def status_304(request: Request) -> None:
    await request.send(b"HTTP/1.1 304 Not Modified\r\n\r\n")


@site("http_error", attempts=1)
async def gone(request: Request) -> None:
    await request.page(PAGE, status="410 Gone")


@site("http_error", attempts=2)
async def broken(request: Request) -> None:
    await request.page(PAGE, status="500 Internal Server Error")


@site("ok", attempts=1)
async def no_heads(request: Request) -> None:
    await request.page(PAGE, status="405 Not Allowed" if request.method == "HEAD" else "200 OK")


async def with_a_second_answer(request: Request) -> None:
    forged = b"<p>An answer to no question.</p>"
    second = OK + b"Content-Length: %d\r\n\r\n%s" % (len(forged), forged)
    rules = b"User-agent: *\nDisallow:\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
    await request.send(head % len(rules) + rules + second)


@site("ok", robots=with_a_second_answer)
async def answers_twice(request: Request) -> None:
    await request.page(PAGE)


@site({f"/{number}.html": "ok" for number in range(4)})
async def sets_cookies(request: Request) -> None:
    if request.path.startswith("/again"):
        await request.page(PAGE, headers=["Set-Cookie: c=3"])
    else:
        cookies = ["Set-Cookie: a=1; Path=/", "Set-Cookie: b=2; Path=/"]
        await request.page(b"", None, "302 Found", [f"Location: /again{request.path}", *cookies])


@site("http_error", attempts=1)
async def asks_for_a_password(request: Request) -> None:
    asks = ['WWW-Authenticate: Basic realm="members"']
    await request.page(PAGE, status="401 Unauthorized", headers=asks)


# Servers that are busy.

FIRST: dict[str, list[Request]] = {}


def busy_once(host: str, outcome: str, status: str, retry_after: str | None = None) -> None:
    """Add a host that answers the first request for its page with `status`, then with the page."""

    async def play(request: Request) -> None:
        asked = FIRST.setdefault(request.host, [])
        asked.append(request)
        if len(asked) == 1:
            after = [] if retry_after is None else [f"Retry-After: {retry_after}"]
            await request.page(b"busy", status=status, headers=after)
        else:
            await request.page(PAGE)

    attempts = 2 if outcome == "ok" else 1
    SITES[f"{host}.example"] = Site(play, b"", {"/page.html": outcome}, attempts, "http")


TOO_MANY, UNAVAILABLE = "429 Too Many Requests", "503 Service Unavailable"
busy_once("retry-in-seconds", "ok", TOO_MANY, "2")
busy_once("unavailable-for-seconds", "ok", UNAVAILABLE, "2")
busy_once("retry-in-a-day", "http_error", TOO_MANY, "86400")
busy_once("retry-in-aeons", "http_error", TOO_MANY, "9" * 400)
busy_once("retry-in-year-9999", "http_error", UNAVAILABLE, "Fri, 31 Dec 9999 23:59:59 GMT")
busy_once("retry-yesterday", "ok", UNAVAILABLE, "Mon, 03 Jan 2000 00:00:00 GMT")
busy_once("retry-soon", "ok", TOO_MANY, "soon")
busy_once("retry-nan", "ok", TOO_MANY, "nan")
busy_once("retry-before", "ok", TOO_MANY, "-86400")
busy_once("retry-bad-date", "ok", TOO_MANY, "Fri, 99 Foo 99999 99:99:99 GMT")
busy_once("unavailable-once", "ok", UNAVAILABLE)
busy_once("too-many-once", "ok", TOO_MANY)
busy_once("error-once", "ok", "500 Internal Server Error")
busy_once("gateway-once", "ok", "502 Bad Gateway")
busy_once("gateway-timeout-once", "ok", "504 Gateway Timeout")


@site("ok", attempts=2)
async def retry_at_a_date(request: Request) -> None:
    asked = FIRST.setdefault(request.host, [])
    asked.append(request)
    if len(asked) == 1:
        date = formatdate(int(time.time()) + 2, usegmt=True)
        await request.page(b"", status=TOO_MANY, headers=[f"Retry-After: {date}"])
    else:
        await request.page(PAGE)


# robots.txt.

OURS = f"User-agent: {TOKEN}\n".encode()
RULES = b"User-agent: *\nDisallow: /private/\n"
BOTH = {"/private/a.html": "robots", "/public/a.html": "ok"}


def robots(
    host: str, outcomes: str | Mapping[str, str], robots: bytes | Play, attempts: int | None = None
) -> None:
    """Add a host with a robots.txt that has every page."""
    paths = {"/page.html": outcomes} if isinstance(outcomes, str) else outcomes
    SITES[f"{host}.example"] = Site(plain, robots, paths, attempts, "http")


def status(line: str, body: bytes = RULES) -> Play:
    """Return the play of a robots.txt with another status."""

    async def play(request: Request) -> None:
        await request.page(body, "text/plain", line)

    return play


async def moved_robots(request: Request) -> None:
    asked = len(FIRST.setdefault(f"robots of {request.host}", []))
    FIRST[f"robots of {request.host}"].append(request)
    target = "/robots.txt" if asked < 4 else f"http://has-rules.example:{PORTS['http']}/robots.txt"
    await request.redirect(f"{target}?{asked}" if asked < 4 else target, "301 Moved Permanently")


async def endless_robots(request: Request) -> None:
    await request.send(OK.replace(b"html", b"plain") + b"Content-Length: 10000000\r\n\r\n")
    start = RULES + b"# padding\n" * 60_000 + b"Disallow: /public/\n"
    await request.send(start + b"#" * (10_000_000 - len(start)))


def cut_line() -> bytes:
    """Return rules the last of which is cut at a place where the rest of it forbids everything."""
    line = b"Disallow: /late/part/\n"
    keep = len(b"Disallow: /")
    padding = b"#" * (ROBOTS_BYTES - len(RULES) - keep - 1) + b"\n"
    return RULES + padding + line + b"# more\n" * 1000


async def robots_bomb(request: Request) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(RULES) + packer.flush(zlib.Z_FULL_FLUSH)
    headers = ["Content-Encoding: gzip"]
    await request.page(bomb(GZIP_START + start), "text/plain", headers=headers)


async def robots_gzipped(request: Request) -> None:
    await request.page(gzip.compress(RULES), "text/plain", headers=["Content-Encoding: gzip"])


async def robots_inside(request: Request) -> None:
    await request.redirect(f"http://127.0.0.1:{PORTS['http']}/robots.txt")


async def robots_of_forbidden_words(request: Request) -> None:
    await request.page(RULES + b"Disallow: /caf\xe9\n\0\xff\xfe\n", "image/png")


async def robots_once_busy(request: Request) -> None:
    asked = FIRST.setdefault(f"robots of {request.host}", [])
    asked.append(request)
    if len(asked) == 1:
        await request.page(b"busy", status=UNAVAILABLE)
    else:
        await request.page(RULES, "text/plain")


async def resets(request: Request) -> None:
    request.reset()


robots("has-rules", BOTH, RULES)
robots("robots-500", "robots", status("500 Internal Server Error"))
robots("robots-503", "robots", status(UNAVAILABLE))
robots("robots-404", "ok", status("404 Not Found"))
robots("robots-403", "ok", status("403 Forbidden"))
robots("robots-410", "ok", status("410 Gone"))
robots("robots-silent", "robots", silent)
robots("robots-trickles", "robots", slow_body)
robots("robots-10-megabytes", BOTH, endless_robots)
robots("robots-cut-in-a-line", {**BOTH, "/late/a.html": "ok"}, cut_line())
robots("robots-bomb", BOTH, robots_bomb)
robots("robots-gzipped", BOTH, robots_gzipped)
robots("robots-moved", BOTH, moved_robots)
robots("robots-moved-inside", "blocked_address", robots_inside)
robots("robots-reset", "connection", resets)
robots("robots-once-busy", BOTH, robots_once_busy)
robots("robots-strange", BOTH, robots_of_forbidden_words)
robots("robots-after-a-mark", BOTH, b"\xef\xbb\xbf" + RULES)
robots("robots-of-an-old-mac", BOTH, RULES.replace(b"\n", b"\r"))
robots("robots-empty", "ok", status("200 OK", b""))
robots("robots-in-html", "ok", status("200 OK", PAGE))
robots("robots-slow-crawl", "robots", OURS + b"Crawl-delay: 86400\nAllow: /\n")
robots("robots-never-crawl", "robots|ok", OURS + b"Crawl-delay: inf\n")
robots("robots-odd-crawl", "robots|ok", OURS + b"Crawl-delay: nan\n")
robots("robots-fast-crawl", "ok", OURS + b"Crawl-delay: -1\n")
robots(
    "robots-odd-path", {"/a%2Fb/c.html": "robots", "/a/b/c.html": "ok"}, OURS + b"Disallow: /a%2F\n"
)
robots(
    "robots-for-us",
    {"/ours/a.html": "robots", "/private/a.html": "ok"},
    RULES + OURS + b"Disallow: /ours/\n",
)
robots("robots-not-us", "robots", OURS + b"Disallow: /\n\nUser-agent: *\nAllow: /\n")
robots(
    "robots-for-more", "robots", b"User-agent: scaling\nAllow: /\n\nUser-agent: *\nDisallow: /\n"
)
robots("robots-for-less", "robots", OURS.upper() + b"Disallow: /\n")


# TLS.

for name, outcome in {
    "valid": "ok",
    "self-signed": "tls",
    "wrong-host": "tls",
    "expired": "tls",
    "not-yet": "tls",
}.items():
    SITES[f"{name}.example"] = Site(plain, b"", {"/page.html": outcome}, None, "https")


def certificates(folder: Path) -> ssl.SSLContext:
    """Return the context of a server with a certificate for each name, the right one or not.

    The authority that a crawl is to trust is written to `authority.pem`.
    """
    trusted, other = trustme.CA(), trustme.CA()
    trusted.cert_pem.write_to_path(str(folder / "authority.pem"))
    past, present, future = (datetime(year, 1, 1, tzinfo=UTC) for year in (2020, 2021, 2100))
    issued = {
        "valid.example": trusted.issue_cert("valid.example"),
        "self-signed.example": other.issue_cert("self-signed.example"),
        "wrong-host.example": trusted.issue_cert("other.example"),
        "expired.example": trusted.issue_cert(
            "expired.example", not_before=past, not_after=present
        ),
        "not-yet.example": trusted.issue_cert(
            "not-yet.example", not_before=future, not_after=future.replace(year=2101)
        ),
    }
    contexts = {name: ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) for name in issued}
    for name, certificate in issued.items():
        certificate.configure_cert(contexts[name])

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        connection.context = contexts.get(name or "", contexts["valid.example"])

    contexts["valid.example"].sni_callback = choose
    return contexts["valid.example"]
