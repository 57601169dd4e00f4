"""The held-out test split (paper, section 2.3), and what of it is in the training split."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scaling_laws.corpus.dedup.batches import read_arrays, strings
from scaling_laws.corpus.dedup.clusters import BYTES_PER_TOKEN
from scaling_laws.corpus.dedup.overlap import Matches, NgramIndex, SimilarityIndex
from scaling_laws.corpus.links.urls import hostname, identity, normalise, registered_domain
from scaling_laws.errors import InputError
from scaling_laws.output import atomic
from scaling_laws.progress import track
from scaling_laws.tables import open_table, read_batches, stream_batches

S = TypeVar("S")
T = TypeVar("T")

LEAKS = pa.schema(
    {"doc_id": pa.string(), "url": pa.string(), "test_doc_id": pa.string(), "jaccard": pa.float64()}
)
QUANTILES = (0.5, 0.9, 0.99, 1.0)
HIGH_OVERLAPS = (0.1, 0.5)
TOP_DOMAINS = 20


def split(
    documents: Path,
    *,
    train: Path,
    test: Path,
    leaks: Path,
    report: Path,
    threshold: float = 0.5,
    shingle_words: int = 5,
    ngram_words: int = 13,
    workers: int = 1,
) -> dict[str, object]:
    """Divide the documents into training and test split, and look for test documents in training.

    The test split is what `clusters` held out. A document of the others goes to the training split
    unless its true Jaccard similarity to a test document is at least the threshold: that finds the
    pairs that MinHash missed, all of them. The training split as it was written is then read again
    for the report. Memory grows with the test split alone, by some 60 bytes a word.

    Args:
        documents: Parquet file of the deduplicated documents, with `held_out`.
        train: Parquet file of the training split.
        test: Parquet file of the test split.
        leaks: Parquet file of the documents that are in neither: doc_id, url, the most similar
            test document and the similarity to it.
        report: JSON file: documents, words, bytes and estimated tokens of both sides; near
            duplicates across, dropped and left; share of each test document's n-grams that the
            training split holds; test documents whose address, up to the query, it holds; share of
            each registered domain on either side.
        threshold: Least Jaccard similarity of near duplicates.
        shingle_words: Words in an n-gram of the similarity.
        ngram_words: Words in an n-gram of the overlap.
        workers: Threads that look for test documents.

    Raises:
        InputError: When one side would be empty.
    """
    held_out = read_arrays([documents], ["held_out"]).get("held_out", np.empty(0, bool))
    for name, size in (("train", (~held_out).sum()), ("test", held_out.sum())):
        if not size:
            raise InputError(
                f"{documents}: {len(held_out)} documents, of which {held_out.sum()} are held out, "
                f"leave the {name} split empty; change split.test_fraction or split.test_tokens, "
                "which the command clusters takes"
            )
    schema = open_table(documents, ["doc_id", "url", "text", "words"]).schema_arrow
    schema = schema.remove(schema.get_field_index("held_out")).remove_metadata()
    with stream_batches(test, schema) as table:
        for batch in read_batches(documents):
            table.append(batch.filter(batch["held_out"]).select(schema.names))
    test_doc_id = read_arrays([test], ["doc_id"])["doc_id"]
    similar = SimilarityIndex(_texts(test), shingle_words, threshold)

    others = (
        batch.filter(pc.invert(batch["held_out"])).select(schema.names)
        for batch in track(read_batches(documents), "split: batches of documents")
    )
    with stream_batches(train, schema) as table, stream_batches(leaks, LEAKS) as leaked:
        for batch, found in _map(partial(_look_up, similar), others, workers):
            columns = [
                batch["doc_id"].take(found.row).cast(pa.string()),
                batch["url"].take(found.row).cast(pa.string()),
                strings(test_doc_id[found.document]),
                pa.array(found.jaccard),
            ]
            leaked.append(pa.RecordBatch.from_arrays(columns, schema=LEAKS))
            stays = np.ones(batch.num_rows, bool)
            stays[found.row] = False
            table.append(batch.filter(pa.array(stays)))
        if not table.rows:
            raise InputError(f"{documents}: all but the test split are near duplicates of it")
    facts = examine(train, test, similar, ngram_words, workers)
    facts["near_duplicates"] |= {"threshold": threshold, "dropped": leaked.rows}
    with atomic(report) as unfinished:
        unfinished.write_text(json.dumps(facts, indent=2) + "\n")
    return {name: fact for name, fact in facts.items() if name != "domains"}


def examine(
    train: Path, test: Path, similar: SimilarityIndex, ngram_words: int, workers: int
) -> dict[str, dict[str, Any]]:
    """Return what there is to tell of both splits and of what they share; see `split`.

    Args:
        train: Parquet file of the training split.
        test: Parquet file of the test split.
        similar: Index of the test documents.
        ngram_words: Words in an n-gram of the overlap.
        workers: Threads.
    """
    ngrams = NgramIndex(_texts(test), ngram_words)
    of_test, of_train = Side(), Side()
    addresses = [address for batch in read_batches(test) for address in of_test.add(batch)]
    pages, paths = {a.page for a in addresses}, {a.path for a in addresses}
    seen_pages, seen_paths = set[str](), set[str]()

    def look(batch: pa.RecordBatch) -> int:
        ngrams.mark(batch["text"].to_pylist())
        return len(_look_up(similar, batch).row)

    left = 0
    batches = track(read_batches(train), "split: batches of the training split")
    for batch, near in _map(look, batches, workers):
        left += near
        for address in of_train.add(batch):
            seen_pages.update(pages & {address.page})
            seen_paths.update(paths & {address.path})
    shares = ngrams.shares()
    return {
        "train": of_train.sizes(),
        "test": of_test.sizes(),
        "near_duplicates": {"left": left},
        "ngram_overlap": {
            "words": ngram_words,
            "mean": float(shares.mean()),
            "quantiles": {str(q): float(np.quantile(shares, q)) for q in QUANTILES},
            "documents_above": {str(share): int((shares > share).sum()) for share in HIGH_OVERLAPS},
        },
        "same_address": {
            "canonical_url_without_query": sum(a.page in seen_pages for a in addresses),
            "host_and_path": sum(a.path in seen_paths for a in addresses),
        },
        "domains": _compare(of_train.domains, of_test.domains),
    }


class Address(NamedTuple):
    """What two documents from one place share.

    Attributes:
        domain: The registered domain.
        page: The canonical URL without its query.
        path: Host and path of the address.
    """

    domain: str
    page: str
    path: str


class Side:
    """Sizes of a split, gathered batch by batch."""

    def __init__(self) -> None:
        """Begin with no document."""
        self.documents = self.words = self.bytes = 0
        self.domains: Counter[str] = Counter()

    def add(self, batch: pa.RecordBatch) -> list[Address]:
        """Count the documents of a batch, and return their addresses."""
        addresses = [_address(url) for url in batch["url"].to_pylist()]
        self.documents += batch.num_rows
        self.words += pc.sum(batch["words"]).as_py() or 0
        self.bytes += pc.sum(pc.binary_length(batch["text"])).as_py() or 0
        self.domains.update(address.domain for address in addresses)
        return addresses

    def sizes(self) -> dict[str, Any]:
        """Return the sizes, tokens estimated from bytes."""
        return {
            "documents": self.documents,
            "words": self.words,
            "bytes": self.bytes,
            "estimated_tokens": round(self.bytes / BYTES_PER_TOKEN),
        }


def _texts(path: Path) -> Iterator[list[str]]:
    """Yield the texts of a table in batches."""
    for batch in read_batches(path, ["text"]):
        yield batch["text"].to_pylist()


def _look_up(similar: SimilarityIndex, batch: pa.RecordBatch) -> Matches:
    """Return the most similar test document of each row that has any."""
    found = similar.matches(batch["text"].to_pylist())
    order = np.lexsort((found.document, -found.jaccard, found.row))
    best = order[np.flatnonzero(np.diff(found.row[order], prepend=-1))]
    return Matches(found.row[best], found.document[best], found.shared[best], found.jaccard[best])


def _map(function: Callable[[S], T], items: Iterable[S], workers: int) -> Iterator[tuple[S, T]]:
    """Yield items and what a function makes of them, in order, a few ahead in threads."""
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[tuple[S, Future[T]]] = deque()
        for item in items:
            ahead.append((item, pool.submit(function, item)))
            if len(ahead) > workers:
                first, result = ahead.popleft()
                yield first, result.result()
        for first, result in ahead:
            yield first, result.result()


def _address(url: str) -> Address:
    """Return what an address shares with others; one that is none of the web's, only itself."""
    try:
        plain = normalise(url)
    except ValueError:
        return Address("", url, url)
    return Address(
        registered_domain(hostname(plain)),
        identity(plain).partition("?")[0],
        plain.partition("//")[2].partition("?")[0],
    )


def _compare(train: Counter[str], test: Counter[str]) -> dict[str, Any]:
    """Return the shares of the commonest domains on both sides, and how far the sides differ."""
    in_train, in_test = train.total(), test.total()
    both = sorted((train + test).items(), key=lambda item: (-item[1], item[0]))
    shares = {name: (train[name] / in_train, test[name] / in_test) for name, _ in both}
    top = list(shares.items())[:TOP_DOMAINS]
    return {
        "total_variation": sum(abs(a - b) for a, b in shares.values()) / 2,
        "top": [{"domain": name, "train": a, "test": b} for name, (a, b) in top],
    }
