"""When two addresses are one page."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urlsplit, urlunsplit

import tldextract
from w3lib.url import canonicalize_url, url_query_cleaner

TRACKING = re.compile(
    r"utm_\w+|fbclid|gclid|dclid|mc_cid|mc_eid|igshid|ncid|cmpid|ref_src|smid|_ga", re.IGNORECASE
)
DEFAULT_PORTS = {"http": 80, "https": 443}

_suffixes = tldextract.TLDExtract(
    suffix_list_urls=(), cache_dir=None
)  # the bundled list, no network


def normalise(url: str) -> str:
    """Return the address to fetch: host in lower case, no default port, tracking or fragment.

    Raises:
        ValueError: When `url` is not an absolute http or https address.
    """
    parts = urlsplit(url.strip())
    if parts.scheme.lower() not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is no absolute http or https address")
    scheme = parts.scheme.lower()
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    netloc = host if parts.port in (None, DEFAULT_PORTS[scheme]) else f"{host}:{parts.port}"
    cleaned = urlunsplit((scheme, netloc, parts.path or "/", parts.query, ""))
    tracking = [name for name in _query_names(parts.query) if TRACKING.fullmatch(name)]
    if tracking:
        cleaned = url_query_cleaner(cleaned, tracking, remove=True)
    return str(canonicalize_url(cleaned))


def identity(url: str) -> str:
    """Return the canonical URL of a normalised address: what names the page.

    `http`, `https` and `www.` variants of an address are taken for one page.
    """
    parts = urlsplit(url)
    return urlunsplit(("http", parts.netloc.removeprefix("www."), parts.path, parts.query, ""))


def url_id(canonical_url: str) -> str:
    """Return the first 128 bits of the SHA-256 of a canonical URL, in hexadecimal."""
    return hashlib.sha256(canonical_url.encode()).hexdigest()[:32]


def registered_domain(host: str) -> str:
    """Return the domain that was registered, such as example.co.uk; the host where none can be."""
    found = _suffixes(host)
    if found.suffix or found.ipv4 or found.ipv6:
        return found.top_domain_under_public_suffix or host
    return ".".join(host.split(".")[-2:])  # under a suffix that the list does not know


def _query_names(query: str) -> list[str]:
    return [pair.partition("=")[0] for pair in query.split("&") if pair]
