"""The other corpora that models are evaluated on (paper, section 3.2.2)."""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import ParseError

import mwparserfromhell
import mwxml
import numpy as np
import orjson
import pandas as pd

from scaling_laws.corpus.extract import Document, document_id, extract_pages
from scaling_laws.corpus.shingles import shingles
from scaling_laws.corpus.warc import read_pages
from scaling_laws.errors import InputError
from scaling_laws.progress import track
from scaling_laws.tables import read_table, write_table

MINIMUM_WORDS = 50
ARTICLES = 0  # the namespace of encyclopedia articles in a MediaWiki dump


def corpus(
    name: str,
    *,
    source: Path,
    format: Literal["jsonl", "wikipedia", "warc"],
    train: Path,
    output: Path,
    rejected: Path,
    language: str = "en",
    ngram_words: int = 13,
    maximum_overlap: float = 0.1,
    workers: int = 1,
) -> dict[str, object]:
    """Read an evaluation corpus and drop from it what the training split holds.

    Args:
        name: Name of the corpus.
        source: File to read.
        format: "jsonl" with a key `text` and optionally `title`, "wikipedia" for a MediaWiki XML
            dump compressed with bzip2, or "warc" for HTML pages.
        train: Parquet file of the training split.
        output: Parquet file of the documents.
        rejected: Parquet file of the documents that were dropped: doc_id, title, reason.
        language: Language of HTML pages to keep.
        ngram_words: Words in an n-gram of the overlap with the training split.
        maximum_overlap: Greatest share of a document's n-grams that the training split may hold.
        workers: Processes that extract HTML pages.

    Raises:
        InputError: When the source is missing or damaged, or nothing of it is left.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file; corpora.{name}.path names the source")
    read: dict[str, Callable[[], Iterator[Document]]] = {
        "jsonl": lambda: _json_lines(source),
        "wikipedia": lambda: _wikipedia(source),
        "warc": lambda: _pages(source, language, workers),
    }
    documents = list(read[format]())
    training = read_table(train, ("text",))["text"]
    seen = np.unique(
        np.concatenate(
            [
                shingles(text, ngram_words)
                for text in track(training, f"{name}: training n-grams", total=len(training))
            ]
        )
    )
    kept, dropped = [], []
    for document in documents:
        grams = shingles(document.text, ngram_words)
        places = np.minimum(np.searchsorted(seen, grams), len(seen) - 1)
        overlap = float((seen[places] == grams).mean())
        if overlap > maximum_overlap:
            dropped.append((document.doc_id, document.title, f"in training split: {overlap:.3f}"))
        else:
            kept.append(document)
    if not kept:
        raise InputError(f"{source}: no document of corpus {name} is left of {len(documents)}")
    table = pd.DataFrame(kept, columns=Document._fields)
    write_table(table.drop_duplicates("doc_id"), output)
    write_table(pd.DataFrame(dropped, columns=["doc_id", "title", "reason"]), rejected)
    return {"documents": len(kept), "dropped": len(dropped), "words": int(table["words"].sum())}


def _json_lines(source: Path) -> Iterator[Document]:
    """Yield the documents of a JSON Lines file."""
    with source.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = orjson.loads(line)
                text, title = row["text"], row.get("title") or ""
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise InputError(
                    f"{source}:{number}: expected a JSON object with the key text: {error!r}"
                ) from None
            if not isinstance(text, str):
                raise InputError(f"{source}:{number}: text is {text!r}, expected a string")
            yield _document(f"{source.name}:{number}", str(title), text)


def _wikipedia(source: Path) -> Iterator[Document]:
    """Yield the articles of a MediaWiki XML dump as plain text, redirects left out."""
    try:
        with bz2.open(source, "rt", encoding="utf-8") as stream:
            for page in mwxml.Dump.from_file(stream):
                if page.namespace != ARTICLES or page.redirect:
                    continue
                markup = next(iter(page)).text or ""
                text = mwparserfromhell.parse(markup).strip_code().strip()
                if len(text.split()) >= MINIMUM_WORDS:
                    yield _document(f"wikipedia:{page.id}", page.title, text)
    except (OSError, EOFError, ParseError, mwxml.errors.MalformedXML) as error:
        raise InputError(f"{source}: not a whole MediaWiki dump in bzip2: {error}") from None


def _pages(source: Path, language: str, workers: int) -> Iterator[Document]:
    """Yield the documents in the HTML pages of a WARC file."""
    outcomes = extract_pages(read_pages(source), language, MINIMUM_WORDS, workers)
    return (outcome for outcome in outcomes if isinstance(outcome, Document))


def _document(address: str, title: str, text: str) -> Document:
    name = document_id(address, text)
    return Document(name, name, address, title, text, "", len(text.split()))
