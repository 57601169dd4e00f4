"""Addresses: which spellings are one address, and which addresses are one page."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from scaling_laws.corpus.links.urls import hostname, identity, normalise, registered_domain, url_id
from scaling_laws.sample import faults, pages
from scaling_laws.sample.build import DEAD_LINKS


@pytest.mark.parametrize(
    ("spelling", "normal"),
    [
        ("HTTP://Example.COM:80/a", "http://example.com/a"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("https://example.com:80/a", "https://example.com:80/a"),
        ("http://example.com", "http://example.com/"),
        ("http://example.com?", "http://example.com/"),
        ("http://example.com./a", "http://example.com/a"),
        ("http://user:secret@example.com/a", "http://example.com/a"),
        (" http://example.com/a\n", "http://example.com/a"),
        ("http://example.com/a?b=1&a=2#part", "http://example.com/a?b=1&a=2"),
        ("http://example.com/a?b=2&&a=&utm_term=c&b=1", "http://example.com/a?b=2&a=&b=1"),
        ("http://example.com/a?utm_source=x&id=7&FBCLID=y", "http://example.com/a?id=7"),
        ("http://example.com/a?utm%5Fsource=x", "http://example.com/a"),
        ("http://example.com/%7euser/%e2%82%ac", "http://example.com/~user/%E2%82%AC"),
        ("http://example.com/a%2fb/100%/ü b", "http://example.com/a%2Fb/100%25/%C3%BC%20b"),
        ("http://example.com/a/./b/../c/%2e%2e/d/..", "http://example.com/a/"),
        ("http://example.com/../../a//b", "http://example.com/a//b"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://ｅxample。com/", "http://example.com/"),
        ("http://ex%61mple.com/b%C3%BC", "http://example.com/b%C3%BC"),
        ("http://i❤.ws/", "http://xn--i-7iq.ws/"),
        ("http://[0:0::1]:8080/", "http://[::1]:8080/"),
        ("http:\\\\example.com\\a".replace("http:\\\\", "http://"), "http://example.com/a"),
        ("http://good.example\\@evil.example/", "http://good.example/@evil.example/"),
    ],
)
def test_spellings_of_an_address_are_made_one(spelling: str, normal: str) -> None:
    assert normalise(spelling) == normal
    assert normalise(normal) == normal


@pytest.mark.parametrize(
    "address",
    [
        *("", "/r/news", "//a.example/", "a.example/b", "ftp://a.example/", "mailto:a@b.example"),
        *("http://", "http:///a", "http:a.example", "http://?a=1", "http://.../"),
        *("http://a:b:c/", "http://a.example:99999/", "http://a.example:x/"),
        *("http://a b.example/", "http://a..example/", f"http://{'a' * 64}.example/"),
        *("http://[1.2.3.4]/", "http://[::1/", "http://a%00.example/", "http://a／b.example/"),
    ],
)
def test_what_is_no_web_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        normalise(address)


@pytest.mark.parametrize(
    ("variant", "canonical"),
    [
        ("https://www.news.example/x", "http://news.example/x"),
        ("https://news.example:8443/x", "http://news.example:8443/x"),
        ("https://m.news.example/x", "http://news.example/x"),
        ("http://mobile.nytimes.com/x", "http://nytimes.com/x"),
        ("http://www.m.news.co.uk/x", "http://news.co.uk/x"),
        ("https://en.m.wikipedia.org/wiki/A_%28b%29", "http://en.wikipedia.org/wiki/A_(b)"),
        ("https://www.google.com/amp/s/www.news.example/x.amp.html", "http://news.example/x.html"),
        ("https://www.google.co.uk/amp/news.example/x%3fa=1%26amp=1", "http://news.example/x?a=1"),
        ("https://news-example.cdn.ampproject.org/c/s/news.example/x", "http://news.example/x"),
        (
            "https://news-example.cdn.ampproject.org/v/s/m.news.example/x/amp/?amp_js_v=0.1",
            "http://news.example/x/",
        ),
        ("https://amp.news.example/x", "http://news.example/x"),
        ("https://news.example/x/amp", "http://news.example/x"),
        ("https://news.example/x?amp=1&b=2", "http://news.example/x?b=2"),
        ("https://news.example/x?amp", "http://news.example/x"),
        ("https://news.example/x?q=a+b", "http://news.example/x?q=a%20b"),
        ("https://news.example/x?b=2&a=&b=1", "http://news.example/x?a=&b=2&b=1"),
        ("https://news.example/x?b=1&a=%2F", "http://news.example/x?a=%2F&b=1"),
    ],
)
def test_variants_of_a_page_have_one_name(variant: str, canonical: str) -> None:
    assert identity(normalise(variant)) == canonical


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a.example/x", "http://a.example/X"),
        ("http://a.example/x", "http://a.example/x/"),
        ("http://a.example/x", "http://b.example/x"),
        ("http://a.example/x", "http://a.example:8080/x"),
        ("http://a.example/x?a=1", "http://a.example/x?a=2"),
        ("http://a.example/x?a=1&a=2", "http://a.example/x?a=2&a=1"),
        ("http://a.example/x%2Fy", "http://a.example/x/y"),
        ("http://a.example/x?q=a%26b", "http://a.example/x?q=a&b"),
        ("http://a.example/x?q=a%2Bb", "http://a.example/x?q=a+b"),
        ("http://m.example/", "http://example/"),
        ("http://en.m.example/", "http://en.example/"),
        ("http://mobile.de/", "http://de/"),
        ("http://m.github.io/", "http://github.io/"),
        ("http://www.com/", "http://com/"),
        ("http://a.example/amp", "http://a.example/"),
        ("http://a.example/guitars?amp=marshall", "http://a.example/guitars"),
        ("http://a.example/x?ref=1", "http://a.example/x"),
        ("http://a.example/x?campaign=1", "http://a.example/x?campaign=2"),
        ("https://www.google.com/amp/notes", "http://notes/"),
    ],
)
def test_different_pages_have_different_names(one: str, other: str) -> None:
    assert identity(normalise(one)) != identity(normalise(other))


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.news.co.uk", "news.co.uk"),
        ("a.b.news.example", "news.example"),
        ("me.blogspot.com", "blogspot.com"),
        ("192.168.1.10", "192.168.1.10"),
        ("localhost", "localhost"),
        ("co.uk", "co.uk"),
    ],
)
def test_the_registered_domain_of_a_host(host: str, domain: str) -> None:
    assert registered_domain(host) == domain


def test_the_host_of_an_address_is_without_its_port() -> None:
    assert hostname("http://a.example:8080/x:y") == "a.example"
    assert hostname("http://[::1]:8080/") == hostname("http://[::1]/") == "[::1]"


# Generated addresses

CHARACTERS = st.characters(codec="utf-8")
LABELS = st.one_of(
    st.sampled_from(["www", "m", "mobile", "amp", "en", "news", "example", "co", "uk", "com"]),
    st.text("abcxyz0189-_", min_size=1, max_size=8),
    st.text(CHARACTERS, min_size=1, max_size=6),
)
HOSTS = st.one_of(
    st.lists(LABELS, min_size=1, max_size=5).map(".".join),
    st.sampled_from(["[::1]", "127.0.0.1", "www.google.com", "a-b.cdn.ampproject.org"]),
)
PIECES = st.one_of(
    st.sampled_from(["amp", ".amp.html", "..", ".", "", "c", "s", "v", "a.example", "%2e", "%2F"]),
    st.text("aZ09-._~!$&'()*+,;=:@%/\\ ", max_size=12),
    st.text(CHARACTERS, max_size=8),
)
PARAMETERS = st.one_of(
    st.sampled_from(["amp", "amp=1", "utm_source=x", "a=1", "a", "a=", "%61=2", "!=1", "%21=2"]),
    st.text("aZ09-._~!$&'()*+,;=:@%/?[] ", max_size=12),
    st.text(CHARACTERS, max_size=8),
)


@st.composite
def addresses(draw: st.DrawFn) -> str:
    """Return a web address, or nearly one."""
    scheme = draw(st.sampled_from(["http", "https", "HTTP", "Https"]))
    port = draw(st.sampled_from(["", "", "", ":80", ":443", ":8080", ":", ":0"]))
    path = "".join(f"/{piece}" for piece in draw(st.lists(PIECES, max_size=6)))
    query = "&".join(draw(st.lists(PARAMETERS, max_size=4)))
    fragment = draw(st.sampled_from(["", "", "#top", "#!/a?b"]))
    credentials = draw(st.sampled_from(["", "", "", "me@", "me:pass@"]))
    mark = "?" if query or draw(st.booleans()) else ""
    return f"{scheme}://{credentials}{draw(HOSTS)}{port}{path}{mark}{query}{fragment}"


@settings(max_examples=1000, deadline=None)
@given(addresses())
@example("https://www.google.com/amp/s/www.google.com/amp/s/m.a.example/x/amp/amp")
@example("http://a.example/%2%35?%252561")
@example("http://a.example/?%21a=1&$b=1")
def test_normal_form_and_name_stay_what_they_are(address: str) -> None:
    try:
        normal = normalise(address)
    except ValueError:
        assume(False)
    assert normal.isascii() and urlsplit(normal).hostname
    assert normalise(normal) == normal
    name = identity(normal)
    assert identity(name) == name
    assert normalise(name) == name
    assert identity(normalise(name)) == name


Spelling = Callable[[str, random.Random], str]


def escape_more(url: str, chance: random.Random) -> str:
    def spelled(found: re.Match[str]) -> str:
        if len(found[0]) > 1 or chance.random() < 0.7:
            return chance.choice((found[0], found[0].lower())) if "%" in found[0] else found[0]
        return f"%{ord(found[0]):02{chance.choice('xX')}}"

    host = url.index("/", 8)
    return url[:host] + re.sub(r"%..|\w", spelled, url[host:])


def amp_viewer(url: str, _: random.Random) -> str:
    # The viewer writes %3F for the question mark before the parameters.
    return url if "%3F" in url else f"https://www.google.com/amp/s/{url.partition('://')[2]}"


def shuffle(url: str, chance: random.Random) -> str:
    address, mark, fragment = url.partition("#")
    path, _, query = address.partition("?")
    pairs = query.split("&") + ["utm_campaign=x", "fbclid=y"][: chance.randrange(3)]
    chance.shuffle(pairs)
    return f"{path}?{'&'.join(pairs)}{mark}{fragment}"


SPELLINGS: list[Spelling] = [
    lambda url, _: url.replace("http://", "https://"),
    lambda url, _: url.replace("http://", "HTTP://").replace("site", "SITE"),
    lambda url, _: url.replace("://", "://www."),
    lambda url, _: url.replace("://", "://m."),
    lambda url, _: url.replace(".example/", ".example./"),
    lambda url, _: url.replace(".example/", ".example:80/").replace("https:", "http:"),
    lambda url, _: url.replace(".example/", ".example/./x/../"),
    lambda url, _: url + "#part",
    amp_viewer,
    shuffle,
    escape_more,
]


@settings(max_examples=300, deadline=None)
@given(
    host=st.text("abcxyz", min_size=1, max_size=5),
    path=st.lists(st.text(CHARACTERS, min_size=1, max_size=8), min_size=1, max_size=4),
    query=st.dictionaries(
        st.text("abcde", min_size=1, max_size=3), st.text(CHARACTERS, max_size=5)
    ),
    spellings=st.lists(st.sampled_from(SPELLINGS), max_size=4, unique=True),
    seed=st.integers(0, 2**16),
)
def test_generated_spellings_of_an_address_have_one_name(
    host: str, path: list[str], query: dict[str, str], spellings: list[Spelling], seed: int
) -> None:
    assume(not {".", ".."} & set(path) and path[-1] != "amp" and "amp" not in query)
    written = "/".join(quote(part, safe="") for part in path)
    pairs = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    url = f"http://{host}.site.example/{written}?{pairs}"
    spelled, chance = url, random.Random(seed)
    for spelling in spellings:
        spelled = spelling(spelled, chance)
    name = identity(normalise(url))
    assert identity(normalise(spelled)) == name
    assert url_id(identity(normalise(spelled))) == url_id(name)
    assert [unquote(part) for part in urlsplit(name).path.split("/")[1:]] == path


# The sample web


@pytest.fixture(scope="module")
def web(packages: Path) -> dict[str, bytes]:
    """Return the pages of the sample by address."""
    chance = random.Random(0)
    articles = pages.news(packages, pages.NEWS, chance)
    syndicated = pages.near_copies(articles, 60, chance)
    originals = [
        *pages.article_pages(articles, chance),
        *pages.sqlalchemy(packages, pages.SQLALCHEMY, chance),
        *pages.django(packages, pages.DJANGO, chance),
        *pages.salt(packages, pages.SALT, chance),
    ]
    served = [
        *originals,
        *pages.exact_copies(originals, 40, chance),
        *pages.article_pages(syndicated, chance),
        *faults.faulty_pages(),
    ]
    dead = faults.dead_links(originals, DEAD_LINKS, chance)
    failing = {link.url: link.url.encode() for link in [*faults.faulty_links(), *dead]}
    return failing | {page.url: page.body + page.url.encode() * (not page.body) for page in served}


def test_two_pages_of_the_sample_never_have_one_name(web: dict[str, bytes]) -> None:
    assert len(web) > 5000
    bodies: dict[str, set[bytes]] = defaultdict(set)
    for url, body in web.items():
        bodies[identity(normalise(url))].add(body)
    assert {name: len(found) for name, found in bodies.items() if len(found) > 1} == {}
