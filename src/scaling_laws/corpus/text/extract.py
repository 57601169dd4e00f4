"""Text of crawled pages (paper, section 2.3)."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pyarrow as pa

from scaling_laws.corpus.crawl.warc import read_pages
from scaling_laws.corpus.text.documents import Document
from scaling_laws.corpus.text.pages import PAGE_MEGABYTES, PAGE_SECONDS, Engine, extract_pages
from scaling_laws.progress import track
from scaling_laws.tables import stream_table

DOCUMENTS = pa.schema(
    {
        "doc_id": pa.string(),
        "url_id": pa.string(),
        "url": pa.string(),
        "title": pa.string(),
        "text": pa.string(),
        "language": pa.string(),
        "words": pa.int64(),
        "mojibake": pa.int64(),
        "control_characters": pa.int64(),
    }
)
REJECTED = pa.schema({"url_id": pa.string(), "url": pa.string(), "reason": pa.string()})


def extract(
    warc: Path,
    *,
    output: Path,
    rejected: Path,
    engine: Engine = "newspaper3k",
    language: str = "en",
    minimum_words: int = 50,
    page_seconds: float = PAGE_SECONDS,
    page_megabytes: int = PAGE_MEGABYTES,
    workers: int = 1,
) -> dict[str, object]:
    """Extract the documents of one shard of crawled pages.

    Rows stand in the order of the pages, whatever the number of workers. A text is brought into
    normal form: Unicode's NFC, line ends made newlines, control characters removed. Signs of a
    wrong decoding are counted in the column `mojibake`, and left.

    A page that hangs, takes too much memory or crashes its worker is lost, with the reason
    `timeout`, `memory` or `crashed`; one that a parser fails on, with `failed:` and the error.

    Args:
        warc: WARC file of the shard; each response names its link in `X-Url-Id`.
        output: Parquet file of the documents.
        rejected: Parquet file of the pages that gave none, with the reason.
        engine: What finds the text in a page; the paper took "newspaper3k".
        language: Language to keep, ISO 639-1.
        minimum_words: Least number of words to keep.
        page_seconds: Time that a page may take.
        page_megabytes: Memory that a page may take (MiB); past half of it, a page is given up.
        workers: Processes that extract.

    Raises:
        InputError: When the WARC file is damaged, or the engine does not know the language.
    """
    started = time.monotonic()
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    outcomes = extract_pages(
        read_pages(warc),
        engine=engine,
        language=language,
        minimum_words=minimum_words,
        page_seconds=page_seconds,
        page_megabytes=page_megabytes,
        workers=workers,
    )
    with stream_table(output, DOCUMENTS) as documents, stream_table(rejected, REJECTED) as failures:
        for outcome in track(outcomes, "extract: pages"):
            if isinstance(outcome, Document):
                documents.append(outcome)
                counts["words"] += outcome.words
                counts["control_characters"] += outcome.control_characters
                counts["with_mojibake"] += outcome.mojibake > 0
            else:
                failures.append(outcome)
                reasons[outcome.reason] += 1
    pages = documents.rows + failures.rows
    return {
        "pages": pages,
        "documents": documents.rows,
        "words": counts["words"],
        "rejected": dict(reasons.most_common()),
        "control_characters_removed": counts["control_characters"],
        "documents_with_mojibake": counts["with_mojibake"],
        "pages_per_second": round(pages / (time.monotonic() - started), 1),
    }
