"""What a site's robots.txt allows (RFC 9309)."""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import NamedTuple

from protego import Protego
from yarl import URL

from scaling_laws.corpus.crawl.fetch import Answer

MAXIMUM_BYTES = 500 * 1024
REDIRECTS = 5
FLAGS = re.IGNORECASE | re.MULTILINE


class Rules(NamedTuple):
    """The rules of one site for one crawler.

    Attributes:
        outcome: What becomes of all links of the site, unless some may be asked for.
        detail: Why.
        text: The robots.txt, compressed; empty where all is allowed.
        group: The name by which its rules are looked up.
        delay: Its Crawl-delay in seconds.
    """

    outcome: str = "ok"
    detail: str | None = None
    text: bytes = b""
    group: str = ""
    delay: float = 0.0

    def allows(self, url: URL) -> bool:
        """Tell whether an address of the site may be asked for."""
        return not self.text or _parsed(self.text).can_fetch(str(url), self.group)


def rules(answer: Answer, user_agent: str, maximum_delay: float) -> Rules:
    """Return the rules that follow from the answer to a request for robots.txt.

    A file that is not there allows all, also one that hides behind too many redirects; a server
    that fails allows nothing.

    Args:
        answer: The last one, after redirects and retries.
        user_agent: Whose product token, such as "scaling-laws", the rules are matched with.
        maximum_delay: Largest Crawl-delay that is waited for, in seconds.
    """
    if answer.outcome == "redirects" or (answer.outcome == "http_error" and _absent(answer.status)):
        return Rules()
    if answer.outcome in ("dns", "tls", "connection", "blocked_address"):
        return Rules(answer.outcome, f"robots.txt: {answer.detail}")
    if answer.outcome != "ok":
        return Rules("robots", f"robots.txt: {answer.detail}")
    body = answer.body
    if len(body) == MAXIMUM_BYTES:  # cut; half a path would forbid more than the whole one
        body = body[: body.rfind(b"\n") + 1]
    text = "\n".join(body.decode("utf-8-sig", "replace").splitlines())
    # Protego takes the group `news` for one of `news-bot`; RFC 9309 wants the same token.
    token = product_token(user_agent)
    own = re.compile(
        rf"^([ \t]*user-agent[ \t]*:[ \t]*{re.escape(token)})(/\S*)?[ \t]*(?=#|$)", FLAGS
    )
    text, found = own.subn(r"\1", text)
    group = token if found else ""
    packed = zlib.compress(text.encode())
    delay = _parsed(packed).crawl_delay(group) or 0.0
    if delay > maximum_delay:
        return Rules("robots", f"Crawl-delay of {delay:g} s is over crawl.maximum_delay")
    return Rules(text=packed, group=group, delay=delay)


def product_token(user_agent: str) -> str:
    """Return the name that a user agent goes by in robots.txt, empty if it has none."""
    found = re.match(r"[\w.-]+", user_agent, re.ASCII)
    return found[0] if found else ""


def _absent(status: int | None) -> bool:
    return status is not None and status // 100 in (2, 3, 4)  # no content, no address, no file


@lru_cache(maxsize=256)
def _parsed(packed: bytes) -> Protego:
    """Return rules that were kept compressed: a crawl meets more sites than memory can hold."""
    return Protego.parse(zlib.decompress(packed).decode())
