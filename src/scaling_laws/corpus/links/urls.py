"""When two addresses are one page.

Two notions: the address to fetch (`normalise`), which a server would answer as it answers the one
that was posted, and the name of the page (`identity`), which its http, https, `www.`, mobile and
AMP variants share.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from functools import lru_cache
from ipaddress import IPv6Address
from string import ascii_letters, digits
from urllib.parse import quote, unquote

import idna
import tldextract

# Parameters that tell where a visitor comes from, none that selects content.
TRACKING = re.compile(
    r"utm_\w+|itm_\w+|mtm_\w+|pk_\w+|piwik_\w+|matomo_\w+|hsa_\w+|mc_\w+|"
    r"ga_(?:source|medium|term|content|campaign|place)|_ga|_gac|_gl|"
    r"gclid|gclsrc|dclid|gbraid|wbraid|gad_source|srsltid|fbclid|msclkid|yclid|ysclid|twclid|"
    r"ttclid|li_fat_id|rdt_cid|epik|igshid|igsh|irclickid|rb_clickid|wickedid|zanpid|"
    r"fb_(?:action_ids|action_types|source|ref)|action_(?:object|type|ref)_map|"
    r"(?:__)?twitter_impression|ref_src|ref_url|_openstat|guccounter|guce_referrer(?:_sig)?|"
    r"_hsenc|_hsmi|__hs(?:sc|tc|fp)|hsctatracking|mkt_tok|mkwid|ef_id|s_kwcid|elqtrack(?:id)?|"
    r"vero_(?:id|conv)|oly_(?:anon|enc)_id|_branch_match_id|ml_subscriber(?:_hash)?|_ke|_kx|"
    r"ncid|cmpid|mbid|smid|smtyp|s_cid|sc_cid|sr_share|soc_(?:src|trk)|xtor|intcid|"
    r"at_(?:medium|campaign|custom\d)|ns_(?:source|mchannel|campaign|linkname|fee)|"
    r"wt[._](?:mc|zmc|mc_id)|usqp|amp_js_v|amp_gsa|phpsessid|jsessionid",
    re.IGNORECASE | re.ASCII,
)
DEFAULT_PORTS = {"http": 80, "https": 443}
VARIANTS = {"www", "m", "mobile", "amp"}

UNRESERVED = ascii_letters + digits + "-._~"
IN_PATH = "/:@!$&'()*+,;="
IN_QUERY = IN_PATH + "?"

# Most addresses have nothing to escape or to resolve: scheme, host and path as they should be,
# parameters, fragment. The limit on the host keeps its labels within theirs.
PLAIN = re.compile(
    r"(https?://(?=[^/]{4,63}/)(?:[a-z0-9]++(?:-[a-z0-9]++)*+\.)+[a-z]{2,}"
    r"(?:/(?!\.)[\w.~:@!$&'()*+,;=-]*+)++)"
    r"(?:\?([\w.~:@!$&'()*+,;=/?-]*+))?(?:#.*)?",
    re.ASCII,
)
PARTS = re.compile(r"(https?)://([^/?#\\]*)([^?#]*)(?:\?([^#]*))?", re.IGNORECASE)
AUTHORITY = re.compile(r"(?:.*@)?(\[[^\[\]]*\]|[^:\[\]@]*)(?::([0-9]{0,5}))?")
HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
LINE_BREAKS = str.maketrans("", "", "\t\r\n")

AMP_CACHE = re.compile(
    r"https?://(?:(?:www\.)?google\.[a-z.]{2,6}/amp|(?:[a-z0-9-]+\.)?cdn\.ampproject\.org/(?:c|v|wp))"
    r"/(s/)?([^/?]+\.[^?]+)(.*)"
)
AMP_PATH = re.compile(r"(?<=[^/])/amp(?=/?$)|\.amp(?=\.html?$)")
AMP_PARAMETERS = {"amp", "amp=", "amp=1", "amp=true"}
LANGUAGE_OF_MOBILE = re.compile(r"([a-z]{2,3}(?:-[a-z]+)?|simple)\.m\.")
# Marks that RFC 2396 had unreserved, as most of the web's software still does.
MARKS = {f"%{ord(mark):02X}": mark for mark in "!*'()"}
MARK = re.compile("|".join(MARKS))

_suffixes = tldextract.TLDExtract(
    suffix_list_urls=(), cache_dir=None
)  # the bundled list, no network


def normalise(url: str) -> str:
    """Return the address to fetch.

    Scheme and host are in lower case and ASCII, credentials, default port, dot segments, tracking
    and fragment are gone, and only what must be escaped is. Parameters stay in their order: some
    servers mind it.

    Raises:
        ValueError: When `url` is not an absolute http or https address.
    """
    if plain := PLAIN.fullmatch(url):
        address, query = plain.groups()
        query = query and _selecting(query)
        return f"{address}?{query}" if query else address
    parts = PARTS.match(url.strip().translate(LINE_BREAKS))
    if not parts:
        raise ValueError(f"{url!r} is no absolute http or https address")
    scheme = parts[1].lower()
    path = _resolved(_escaped(parts[3].replace("\\", "/"), IN_PATH))
    query = _selecting(_escaped(parts[4] or "", IN_QUERY))
    return _joined(scheme, _authority(parts[2], scheme), path, query)


def identity(url: str) -> str:
    """Return the canonical URL of a normalised address: what names the page.

    Takes for one page the `http`, `https`, `www.`, mobile (`m.`, `mobile.`, `en.m.`) and AMP
    variants of an address, its parameters in any order of their names, and spellings that differ in
    escapes that forms and browsers disagree on.
    """
    named = _named(url)
    while "amp" in named and named != url:  # what an AMP address stands for may be one again
        url, named = named, _named(named)
    return named


def url_id(canonical_url: str) -> str:
    """Return the first 128 bits of the SHA-256 of a canonical URL, in hexadecimal."""
    return hashlib.sha256(canonical_url.encode()).hexdigest()[:32]


def hostname(url: str) -> str:
    """Return the host of a normalised address or canonical URL."""
    authority = url.split("/", 3)[2]
    return authority if authority.endswith("]") else authority.rpartition(":")[0] or authority


def registered_domain(host: str) -> str:
    """Return the domain that was registered, such as example.co.uk; the host where none can be."""
    return _registered(host, private=False)


def is_public_suffix(host: str) -> bool:
    """Tell whether domains are registered under a host, such as co.uk, for anyone."""
    found = _suffixes(host)
    return bool(found.suffix) and not found.domain


def shard_of(host: str, shards: int) -> int:
    """Return the shard of a host's pages: one for all hosts of a registered domain."""
    return zlib.crc32(registered_domain(host).encode()) % shards


def _registered(host: str, private: bool) -> str:
    """Return the registered domain; `private` takes github.io and the like for suffixes."""
    found = _suffixes(host, include_psl_private_domains=private)
    if found.suffix or found.ipv4 or found.ipv6:
        return found.top_domain_under_public_suffix or host
    return ".".join(host.split(".")[-2:])  # under a suffix that the list does not know


def _joined(scheme: str, authority: str, path: str, query: str) -> str:
    return f"{scheme}://{authority}{path}?{query}" if query else f"{scheme}://{authority}{path}"


def _authority(text: str, scheme: str) -> str:
    """Return host and port, without credentials and a default port."""
    parts = AUTHORITY.fullmatch(text)
    if not parts:
        raise ValueError(f"{text!r} is no host with a port")
    host, port = _host(parts[1]), int(parts[2] or DEFAULT_PORTS[scheme])
    if port > 65535:
        raise ValueError(f"{port} is no port")
    return host if port == DEFAULT_PORTS[scheme] else f"{host}:{port}"


def _host(text: str) -> str:
    """Return a host in ASCII, as UTS 46 maps it."""
    if text.startswith("["):
        return f"[{IPv6Address(text[1:-1])}]"
    host = text.lower()
    if "%" in host:
        host = unquote(host, errors="strict")
    if not host.isascii():
        # The mapping alone, as in browsers: idna's own encoding refuses names that are in use.
        labels = idna.uts46_remap(host, std3_rules=False, transitional=False).split(".")
        host = ".".join(
            label if label.isascii() else f"xn--{label.encode('punycode').decode()}"
            for label in labels
        )
    host = host.removesuffix(".")
    if len(host) > 253 or not HOST.fullmatch(host):
        raise ValueError(f"{text!r} is no host")
    return host


def _escaped(text: str, allowed: str) -> str:
    """Return `text` with escapes in upper case, and only where they are needed."""
    quoted = quote(STRAY_PERCENT.sub("%25", text), safe=f"{allowed}%")
    return ESCAPE.sub(_unescaped, quoted) if "%" in quoted else quoted


def _unescaped(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in UNRESERVED else escape[0].upper()


def _resolved(path: str) -> str:
    """Return `path` without dot segments (RFC 3986, section 5.2.4)."""
    if "/." not in path:
        return path or "/"
    _, *segments = path.split("/")
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _selecting(query: str) -> str:
    """Return the parameters that select content."""
    return "&".join(pair for pair in query.split("&") if pair and not _tracks(_name(pair)))


def _name(pair: str) -> str:
    return pair.partition("=")[0]


@lru_cache(maxsize=2**12)
def _tracks(name: str) -> bool:
    return TRACKING.fullmatch(name) is not None


def _named(url: str) -> str:
    """Return an address closer to the canonical URL, or the canonical URL itself."""
    if "amp" in url and (cached := AMP_CACHE.fullmatch(url)):
        secure, page, query = cached.groups()
        page, encoded, escaped_query = page.partition("%3F")
        query = f"?{unquote(escaped_query)}" if encoded and not query else query
        try:
            return normalise(f"{'https' if secure else 'http'}://{page}{query}")
        except ValueError:
            pass  # no address behind it: a page of the cache's host itself
    _, _, authority, rest = url.split("/", 3)
    path, _, query = f"/{rest}".partition("?")
    if "%" in path:
        path = MARK.sub(lambda mark: MARKS[mark[0]], path)
    if "amp" in path:
        path = AMP_PATH.sub("", path)
    if "%" in query or "+" in query or "amp" in query:
        query = MARK.sub(lambda mark: MARKS[mark[0]], query.replace("+", "%20"))
        query = "&".join(pair for pair in query.split("&") if pair not in AMP_PARAMETERS)
        query = _selecting(query)
    if "&" in query:  # those of one name keep their order
        query = "&".join(sorted(query.split("&"), key=_name))
    return _joined("http", _page_authority(authority), path, query)


@lru_cache(maxsize=2**16)
def _page_authority(authority: str) -> str:
    """Return host and port without what marks a variant, as long as the domain is left."""
    host = hostname(f"//{authority}")
    port = authority[len(host) :]
    domain = _registered(host, private=True)
    while host != domain:
        first, _, rest = host.partition(".")
        mobile = LANGUAGE_OF_MOBILE.match(host)
        if first in VARIANTS:
            host = rest
        elif mobile and host[mobile.end() :].endswith(domain):
            host = f"{mobile[1]}.{host[mobile.end() :]}"
        else:
            break
    return host if port in (":80", ":443") else host + port
