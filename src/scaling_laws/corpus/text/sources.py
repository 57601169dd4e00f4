"""The other corpora that models are evaluated on (paper, section 3.2.2)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import pyarrow as pa

from scaling_laws.corpus.crawl.warc import read_conversions, read_pages
from scaling_laws.corpus.dedup.overlap import NgramIndex
from scaling_laws.corpus.forgotten import OUTCOME, Forgotten
from scaling_laws.corpus.links.urls import url_id
from scaling_laws.corpus.text import formats
from scaling_laws.corpus.text.documents import LANGUAGE, Document, Rejection, judge
from scaling_laws.corpus.text.extract import DOCUMENTS
from scaling_laws.corpus.text.formats import MINIMUM_WORDS, Text
from scaling_laws.corpus.text.pages import PAGE_MEGABYTES, PAGE_SECONDS, extract_pages
from scaling_laws.corpus.text.workers import within_limits
from scaling_laws.errors import InputError
from scaling_laws.ledger import reading
from scaling_laws.progress import track
from scaling_laws.tables import open_table, read_batches, stream_table
from scaling_laws.text_files import Format, none_in, texts_in

READERS: dict[str, Callable[[Path, str], Iterator[Text]]] = {
    "jsonl": formats.json_lines,
    "parquet": formats.parquet,
    "text": formats.plain_text,
    "epub": formats.epub,
}
REJECTED = pa.schema(
    {
        "doc_id": pa.string(),
        "url": pa.string(),
        "title": pa.string(),
        "reason": pa.string(),
        "overlap": pa.float64(),
    }
)
IN_TRAINING = "in training split"
SCRATCH = pa.ipc.IpcWriteOptions(compression="zstd")
DOCUMENTS_PER_BATCH, ROWS_PER_BATCH = 64, 512


def corpus(
    name: str,
    *,
    source: Path,
    format: Format,
    train: Path,
    output: Path,
    rejected: Path,
    language: str = "en",
    ngram_words: int = 13,
    maximum_overlap: float = 0.1,
    maximum_words: int | None = None,
    forgotten: Path | None = None,
    workers: int = 1,
) -> dict[str, object]:
    """Read an evaluation corpus and drop from it what the training split holds.

    A document is dropped when too many of its n-grams occur anywhere in the training split. Memory
    grows with the words of this corpus, some 50 bytes a word, and not with the training split,
    which is streamed past it.

    Args:
        name: Name of the corpus.
        source: File to read, or a folder of which all files of the format are read, by name.
        format: "jsonl" for objects with `text` and optionally `title`, "parquet" for these columns,
            "text" for a document a file, "epub" for books, "wikipedia" for a MediaWiki XML dump,
            "warc" for HTML pages, "wet" for the text of pages. Names that end in .gz, .bz2, .xz or
            .zst say of jsonl, text and wikipedia how they are compressed. What Project Gutenberg
            writes around a book is cut off.
        train: Parquet file of the training split.
        output: Parquet file of the documents.
        rejected: Parquet file of what was dropped, with the reason and the overlap where that is
            the reason.
        language: Language of web pages to keep, ISO 639-1.
        ngram_words: Words in an n-gram of the overlap with the training split.
        maximum_overlap: Greatest share of a document's n-grams that the training split may hold.
        maximum_words: Words after which to stop reading: an evaluation needs but a sample of a
            large dump, and gets its beginning. Absent for all.
        forgotten: Text file of URLs and domains (`forget`) whose pages are left out of "warc" and
            "wet"; it need not exist.
        workers: Processes that extract pages and articles.

    Raises:
        InputError: When the source is missing or damaged, or nothing of it is left, or the list of
            what is forgotten cannot be read.
    """
    excluded = Forgotten.read(forgotten)
    found = without(excluded, read(files_of(name, source, format), format, language, workers))
    output.parent.mkdir(parents=True, exist_ok=True)
    reasons: Counter[str] = Counter()
    words = 0
    with (
        TemporaryFile(dir=output.parent) as scratch,
        stream_table(output, DOCUMENTS) as kept,
        stream_table(rejected, REJECTED) as rejections,
    ):

        def drop(row: Dropped) -> None:
            rejections.append(row)
            reasons[row.reason if row.overlap is None else IN_TRAINING] += 1

        documents = limited(distinct(track(found, f"{name}: documents"), drop), maximum_words)
        index = NgramIndex(store(documents, scratch), ngram_words)
        mark(index, train, f"{name}: training split")
        for document, overlap in zip(restore(scratch), index.shares().tolist(), strict=True):
            if overlap > maximum_overlap:
                reason = f"{IN_TRAINING}: {overlap:.3f}"
                drop(Dropped(document.doc_id, document.url, document.title, reason, overlap))
                continue
            kept.append(document)
            words += document.words
        if not kept.rows:
            raise InputError(
                f"{source}: no document of corpus {name} is left; dropped: {dict(reasons)}"
            )
    return {"documents": kept.rows, "words": words, "dropped": dict(reasons.most_common())}


class Dropped(NamedTuple):
    """A row of the rejected: a document, or an address that gives none."""

    doc_id: str | None
    url: str
    title: str | None
    reason: str
    overlap: float | None


def files_of(name: str, source: Path, format: Format) -> dict[str, Path]:
    """Return the files of a corpus by name: the source, or what a folder holds of the format.

    Raises:
        InputError: There is none.
    """
    if source.is_file():
        return {source.name: source}
    if not source.exists():
        raise InputError(f"{source}: no such file; --source (corpora.{name}.path) names it")
    found = {path.relative_to(source).as_posix(): path for path in texts_in(source, format)}
    if not found:
        raise InputError(f"{source}: {none_in(format)}")
    return dict(sorted(found.items()))


def read(
    files: dict[str, Path], format: Format, language: str, workers: int
) -> Iterator[Document | Rejection]:
    """Yield what is in files of one format, in their order.

    Raises:
        InputError: A file is damaged.
    """
    if format == "warc":
        pages = chain.from_iterable(map(read_pages, files.values()))
        return extract_pages(pages, language=language, minimum_words=MINIMUM_WORDS, workers=workers)
    if format == "wikipedia":
        return within_limits(
            formats.article,
            chain.from_iterable(map(formats.wikipedia, files.values())),
            formats.lost_article,
            workers=workers,
            seconds=PAGE_SECONDS,
            megabytes=PAGE_MEGABYTES,
            modules=(formats.__name__, LANGUAGE),
        )
    if format == "wet":
        conversions = chain.from_iterable(map(read_conversions, files.values()))
        return (
            judge(url_id(url), url, "", text, language=language, minimum_words=MINIMUM_WORDS)
            for url, text in conversions
        )
    texts = chain.from_iterable(
        READERS[format](reading(path), name) for name, path in files.items()
    )
    return (judge(url_id(text.address), *text) for text in texts)


def without(
    forgotten: Forgotten, outcomes: Iterable[Document | Rejection]
) -> Iterator[Document | Rejection]:
    """Yield the outcomes of addresses, those that are forgotten as rejections."""
    for outcome in outcomes:
        if outcome.url in forgotten:
            yield Rejection(outcome.url_id, outcome.url, OUTCOME)
        else:
            yield outcome


def distinct(
    outcomes: Iterable[Document | Rejection], drop: Callable[[Dropped], None]
) -> Iterator[Document]:
    """Yield the documents, each once, and drop the others."""
    seen = set()
    for outcome in outcomes:
        if isinstance(outcome, Rejection):
            drop(Dropped(None, outcome.url, None, outcome.reason, None))
        elif outcome.doc_id in seen:
            drop(Dropped(outcome.doc_id, outcome.url, outcome.title, "duplicate", None))
        else:
            seen.add(outcome.doc_id)
            yield outcome


def limited(documents: Iterable[Document], maximum_words: int | None) -> Iterator[Document]:
    """Yield documents until they have `maximum_words` words."""
    words = 0
    for document in documents:
        yield document
        words += document.words
        if maximum_words is not None and words >= maximum_words:
            return


def store(documents: Iterator[Document], scratch: IO[bytes]) -> Iterator[list[str]]:
    """Write documents to a file, and yield their texts in batches."""
    with pa.ipc.new_stream(scratch, DOCUMENTS, options=SCRATCH) as stream:
        while batch := list(islice(documents, DOCUMENTS_PER_BATCH)):
            rows = [document._asdict() for document in batch]
            stream.write_batch(pa.RecordBatch.from_pylist(rows, DOCUMENTS))
            yield [document.text for document in batch]


def restore(scratch: IO[bytes]) -> Iterator[Document]:
    """Yield the documents that `store` has written."""
    scratch.seek(0)
    for batch in pa.ipc.open_stream(scratch):
        yield from (Document(**row) for row in batch.to_pylist())


def mark(index: NgramIndex, train: Path, what: str) -> None:
    """Mark in the index what occurs in a split.

    Args:
        index: The n-grams of a corpus.
        train: Parquet file of the split.
        what: Name of the work.
    """
    metadata = open_table(train, ("text",)).metadata
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    total = sum(math.ceil(group.num_rows / ROWS_PER_BATCH) for group in groups)
    for batch in track(read_batches(train, ["text"], ROWS_PER_BATCH), f"{what}, batches", total):
        index.mark(batch["text"].to_pylist())
