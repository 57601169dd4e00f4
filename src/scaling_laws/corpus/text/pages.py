"""The document in an HTML page, by Newspaper3k as in the paper (section 2.3) or by Trafilatura."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from w3lib.encoding import html_to_unicode

from scaling_laws.corpus.crawl.content import is_html
from scaling_laws.corpus.crawl.warc import Page
from scaling_laws.corpus.text.documents import LANGUAGE, Document, Rejection, judge
from scaling_laws.corpus.text.workers import within_limits
from scaling_laws.errors import InputError

Engine = Literal["newspaper3k", "trafilatura"]
MODULES = {"newspaper3k": "scaling_laws.corpus.text.article", "trafilatura": "trafilatura"}
PAGE_SECONDS, PAGE_MEGABYTES = 30.0, 1024


def extract_pages(
    pages: Iterable[Page],
    *,
    engine: Engine = "newspaper3k",
    language: str,
    minimum_words: int,
    page_seconds: float = PAGE_SECONDS,
    page_megabytes: int = PAGE_MEGABYTES,
    workers: int,
) -> Iterator[Document | Rejection]:
    """Yield a document or a rejection for each page, in the order of the pages.

    Args:
        pages: The pages.
        engine: What finds the text in a page.
        language: Language of the documents, ISO 639-1.
        minimum_words: Least number of words of a document.
        page_seconds: Time that a page may take.
        page_megabytes: Memory that a page may take (MiB).
        workers: Processes that extract.

    Raises:
        InputError: The engine does not know the language.
    """
    if engine == "newspaper3k" and language not in (known := newspaper_languages()):
        raise InputError(f"--language {language} (extract.language): expected one of {known}")
    return within_limits(
        partial(extract_page, engine=engine, language=language, minimum_words=minimum_words),
        pages,
        lost_page,
        workers=workers,
        seconds=page_seconds,
        megabytes=page_megabytes,
        modules=(__name__, LANGUAGE, MODULES[engine]),
    )


def extract_page(
    page: Page, *, engine: Engine = "newspaper3k", language: str, minimum_words: int
) -> Document | Rejection:
    """Return the document in a page, or why there is none: "wrong_type", or as `judge` says.

    Raises:
        Exception: Whatever the parsers raise.
    """
    if page.content_type.strip() and not is_html(page.content_type):
        return lost_page(page, "wrong_type")
    _, html = html_to_unicode(page.content_type, page.body)
    title, text = ENGINES[engine](html, language) if html.strip() else ("", "")
    return judge(page.url_id, page.url, title, text, language=language, minimum_words=minimum_words)


def lost_page(page: Page, reason: str) -> Rejection:
    """Return the rejection of a page."""
    return Rejection(page.url_id, page.url, reason)


def newspaper3k(html: str, language: str) -> tuple[str, str]:
    """Return title and text of a page by Newspaper3k."""
    from scaling_laws.corpus.text.article import title_and_text

    return title_and_text(html, language)


def newspaper_languages() -> list[str]:
    """Return the languages that Newspaper3k knows frequent words of, without importing it."""
    package = find_spec("newspaper")
    assert package and package.submodule_search_locations
    folder = Path(package.submodule_search_locations[0], "resources", "text")
    return sorted(path.stem.rpartition("-")[2] for path in folder.glob("stopwords-*.txt"))


def trafilatura(html: str, language: str) -> tuple[str, str]:
    """Return title and text of a page by Trafilatura, without comments of readers."""
    from trafilatura import bare_extraction

    found: Any = bare_extraction(html, include_comments=False, with_metadata=True)
    return (found.title or "", found.text or "") if found else ("", "")


ENGINES = {"newspaper3k": newspaper3k, "trafilatura": trafilatura}
