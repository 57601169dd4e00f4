"""One request, and what came of it, whatever a server does."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import aiohttp
from aiohttp import (
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    TCPConnector,
    TraceConfig,
)
from yarl import URL

from scaling_laws.corpus.crawl.addresses import BlockedAddressError, Gate, PublicResolver
from scaling_laws.corpus.crawl.content import BodyError, decoded, is_html
from scaling_laws.corpus.crawl.warc import Headers

REDIRECTS = {301, 302, 303, 307, 308}
TOO_BUSY = {429, 503}
MAY_PASS = {429, 500, 502, 503, 504}
HEADER_BYTES = 2**15  # of one header
KEEP_OPEN = 4.0  # seconds that a connection waits for its next request; servers hang up after 5

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


class Answer(NamedTuple):
    """What came of a request.

    Attributes:
        outcome: The crawl's word for it; "redirect" where the answer is one.
        detail: The reason in words, unless all is well.
        status: HTTP status, if the headers came.
        reason: What the status line has after it.
        headers: As they came, where the outcome is "ok".
        content_type: The header.
        body: Without its encodings; empty unless the outcome is "ok".
        location: Where a redirect leads.
        retry_after: Seconds for which the server wants to be left alone.
    """

    outcome: str
    detail: str | None = None
    status: int | None = None
    reason: str = ""
    headers: Headers = ()
    content_type: str | None = None
    body: bytes = b""
    location: str | None = None
    retry_after: float | None = None

    @property
    def may_pass(self) -> bool:
        """Whether another attempt may end better."""
        if self.outcome == "http_error":
            return self.status in MAY_PASS
        return self.outcome in ("timeout", "connection", "truncated")

    @property
    def too_much(self) -> bool:
        """Whether the server has shown that it is asked too often."""
        return self.outcome == "timeout" or self.status in TOO_BUSY


class Client:
    """Asks servers, through a proxy if there is one."""

    def __init__(
        self, session: ClientSession, gate: Gate, proxy: str | None, timeout: float
    ) -> None:
        """Let requests pass `gate`, and give up each after `timeout` seconds."""
        self._session, self._gate, self._proxy, self._timeout = session, gate, proxy, timeout

    async def page(self, url: URL, maximum_bytes: int, sent: Callable[[], None]) -> Answer:
        """Ask for a page of HTML.

        Args:
            url: Where it is.
            maximum_bytes: Largest body that is kept, compressed or not.
            sent: Called once the request has been written.
        """
        return await self._ask(url, maximum_bytes, sent, robots=False)

    async def robots(self, url: URL, maximum_bytes: int, sent: Callable[[], None]) -> Answer:
        """Ask for a robots.txt, of which no more than `maximum_bytes` is read."""
        return await self._ask(url, maximum_bytes, sent, robots=True)

    async def _ask(
        self, url: URL, maximum_bytes: int, sent: Callable[[], None], *, robots: bool
    ) -> Answer:
        response: ClientResponse | None = None
        try:
            self._gate.check(url)
            async with (
                asyncio.timeout(self._timeout),
                self._session.get(
                    url, allow_redirects=False, proxy=self._proxy, trace_request_ctx=sent
                ) as response,
            ):
                answer = self._judge(response, robots)
                if answer.outcome != "ok":
                    return answer
                body = await _read(response, maximum_bytes, robots)
                encoding = response.headers.get("Content-Encoding", "")
                return answer._replace(
                    reason=response.reason or "",
                    headers=[
                        (_header(name), _header(value)) for name, value in response.raw_headers
                    ],
                    body=decoded(body, encoding, maximum_bytes, cut=robots),
                )
        except BodyError as error:
            outcome, detail = error.outcome, error.detail
        except TimeoutError:
            outcome, detail = "timeout", f"no whole answer in {self._timeout:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            outcome, detail = _explain(error, after_headers=response is not None)
        status = response.status if response else None
        content_type = _text(response.headers.get("Content-Type")) if response else None
        return Answer(outcome, detail, status, content_type=content_type)

    def _judge(self, response: ClientResponse, robots: bool) -> Answer:
        """Return the answer as far as the headers tell it."""
        status, headers = response.status, response.headers
        content_type = _text(headers.get("Content-Type"))
        answer = Answer("ok", status=status, content_type=content_type)
        proxy_status = headers.get("Proxy-Status", "") if self._proxy else ""
        if status in {502, 503, 504} and (found := _proxy_error(proxy_status)):
            return answer._replace(outcome=found[0], detail=found[1])
        if status in REDIRECTS and "Location" in headers:
            return answer._replace(outcome="redirect", location=headers["Location"])
        if status != 200:
            retry_after = _seconds(headers.get("Retry-After")) if status in TOO_BUSY else None
            return answer._replace(
                outcome="http_error", detail=f"HTTP {status}", retry_after=retry_after
            )
        if not robots and not is_html(content_type or ""):
            kind = (content_type or "").partition(";")[0].strip().lower()
            return answer._replace(
                outcome="wrong_type", detail=kind[:80] or "no content type is given"
            )
        return answer


@asynccontextmanager
async def open_client(
    gate: Gate, proxy: str | None, user_agent: str, timeout: float
) -> AsyncIterator[Client]:
    """Yield a client without cookies, and without credentials or proxies of the environment."""
    trace = TraceConfig()
    trace.on_request_headers_sent.append(_note_sent)
    # Behind a proxy, names are the proxy's to resolve, and its own address is the user's choice.
    connector = TCPConnector(
        limit=0,
        keepalive_timeout=KEEP_OPEN,
        ttl_dns_cache=300,
        resolver=None if proxy else PublicResolver(gate),
    )
    async with ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={
            "User-Agent": user_agent,
            "Accept": "text/html, application/xhtml+xml, */*;q=0.5",
            "Accept-Encoding": "gzip, deflate",
        },
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,
        trust_env=False,
        max_line_size=HEADER_BYTES,
        max_field_size=HEADER_BYTES,
        trace_configs=[trace],
        middlewares=[_only_once],
    ) as session:
        yield Client(session, gate, proxy, timeout)


async def _only_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keep aiohttp from asking again by itself: that would pass by the host's pace."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error)) from error


async def _note_sent(session: ClientSession, context: Any, parameters: object) -> None:
    # aiohttp tells of headers before it writes them, all in one go: next time round they are out.
    asyncio.get_running_loop().call_soon(context.trace_request_ctx)


async def _read(response: ClientResponse, maximum_bytes: int, cut: bool) -> bytes:
    """Return the body, or its beginning if that is enough.

    Raises:
        BodyError: It is larger than allowed.
    """
    too_large = BodyError("too_large", "larger than crawl.maximum_bytes")
    if not cut and (response.content_length or 0) > maximum_bytes:
        raise too_large
    pieces = []
    size = 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > maximum_bytes:
            if cut:
                break
            raise too_large
    return b"".join(pieces)[:maximum_bytes]


def _explain(error: Exception, after_headers: bool) -> tuple[str, str]:
    """Return outcome and reason of a request that ended with an exception."""
    causes = list(_causes(error))
    if blocked := next((each for each in causes if isinstance(each, BlockedAddressError)), None):
        return "blocked_address", str(blocked)
    if after_headers:
        return "truncated", "the body ends early"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns", "the name has no address"
    if refused := next((each for each in causes if isinstance(each, ssl.SSLError)), None):
        return "tls", getattr(refused, "verify_message", "") or "the handshake fails"
    if isinstance(error, aiohttp.ClientSSLError):
        return "tls", "the handshake fails"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        found = _proxy_error(error.headers.get("Proxy-Status", "") if error.headers else "")
        return found or ("connection", f"the proxy answers CONNECT with HTTP {error.status}")
    if isinstance(error, aiohttp.ClientResponseError):
        if "chunk" in error.message.partition(":")[0]:  # came with the headers
            return "truncated", "broken chunks"
        too_long = "more than" in error.message or "Too many" in error.message
        return "connection", "headers too long" if too_long else "headers that are not HTTP"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connection", "no connection"
    if isinstance(error, ValueError):
        return "connection", "no address"
    return "connection", "closed before an answer"


def _text(header: str | None) -> str | None:
    """Return a header that may have any bytes as text."""
    return header and header.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _header(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that it came of."""
    while error is not None:
        yield error
        error = getattr(error, "os_error", None) or error.__cause__


def _proxy_error(proxy_status: str) -> tuple[str, str] | None:
    """Return outcome and reason of an error that a proxy reports."""
    error = re.search(r"error=([a-z_]+)", proxy_status)
    return (PROXY_ERRORS.get(error[1], "connection"), f"proxy: {error[1]}") if error else None


def _seconds(retry_after: str | None) -> float | None:
    """Return how long a Retry-After asks to wait, given in seconds or as a date."""
    text = (retry_after or "").strip()
    if text.isdecimal():
        return float(text[:12])
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
