"""Text of crawled pages, by Newspaper3k as in the paper (section 2.3)."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import py3langid
from newspaper import Article
from w3lib.encoding import html_to_unicode

from scaling_laws.corpus.warc import Page, read_pages
from scaling_laws.progress import track
from scaling_laws.tables import write_table

PAGES_PER_TASK = 8


class Document(NamedTuple):
    """The text of a page."""

    doc_id: str
    url_id: str
    url: str
    title: str
    text: str
    language: str
    words: int


class Rejection(NamedTuple):
    """A page that gives no document, and why."""

    url_id: str
    reason: str


def extract(
    warc: Path,
    *,
    output: Path,
    rejected: Path,
    language: str = "en",
    minimum_words: int = 50,
    workers: int = 1,
) -> dict[str, object]:
    """Extract the documents of one shard of crawled pages.

    Args:
        warc: WARC file of the shard; each response names its link in `X-Url-Id`.
        output: Parquet file of the documents, by doc_id.
        rejected: Parquet file of the pages that gave none, with the reason.
        language: Language to keep, ISO 639-1.
        minimum_words: Least number of words to keep.
        workers: Processes that extract.

    Raises:
        InputError: When the WARC file is damaged.
    """
    outcomes = list(extract_pages(read_pages(warc), language, minimum_words, workers))
    documents = pd.DataFrame(
        [outcome for outcome in outcomes if isinstance(outcome, Document)],
        columns=Document._fields,
    )
    failures = pd.DataFrame(
        [outcome for outcome in outcomes if isinstance(outcome, Rejection)],
        columns=Rejection._fields,
    )
    write_table(documents.sort_values("doc_id"), output)
    write_table(failures.sort_values("url_id"), rejected)
    return {
        "pages": len(outcomes),
        "documents": len(documents),
        "words": int(documents["words"].sum()),
        "rejected": failures["reason"].value_counts().to_dict(),
    }


def extract_pages(
    pages: Iterable[Page], language: str, minimum_words: int, workers: int
) -> Iterator[Document | Rejection]:
    """Yield a document or a rejection for each page, in the order of the pages."""
    one = partial(extract_page, language=language, minimum_words=minimum_words)
    if workers == 1:
        yield from track(map(one, pages), "extract: pages")
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from track(pool.map(one, pages, chunksize=PAGES_PER_TASK), "extract: pages")


def extract_page(page: Page, language: str, minimum_words: int) -> Document | Rejection:
    """Return the document in a page, or why there is none."""
    _, html = html_to_unicode(page.content_type, page.body)
    if not html.strip():
        return Rejection(page.url_id, "no_text")
    # The language is given, not read from the page: newspaper would load a tokeniser for it.
    article = Article(page.url, language=language, fetch_images=False)
    try:
        article.set_html(html)
        article.parse()
    except (
        Exception
    ) as error:  # newspaper raises whatever its parsers raise; the page is lost, not the shard
        return Rejection(page.url_id, f"failed: {type(error).__name__}")
    text = unicodedata.normalize("NFC", article.text).strip()
    words = len(text.split())
    if words == 0:
        return Rejection(page.url_id, "no_text")
    if words < minimum_words:
        return Rejection(page.url_id, "short")
    found, _ = py3langid.classify(text)
    if found != language:
        return Rejection(page.url_id, f"language: {found}")
    return Document(
        document_id(page.url_id, text), page.url_id, page.url, article.title, text, found, words
    )


def document_id(source: str, text: str) -> str:
    """Return the name of a text from a link or file: 128 bits of SHA-256 in hexadecimal.

    It is made with the link, not the final address: two links that lead to one page are two
    documents, one of them an exact duplicate.
    """
    return hashlib.sha256(f"{source}\n{text}".encode()).hexdigest()[:32]
