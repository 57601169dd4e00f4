"""Shards of documents that nobody wrote, some of them copies, and what the corpus stages make."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scaling_laws.corpus.dedup.clusters import clusters
from scaling_laws.corpus.dedup.dedup import dedup
from scaling_laws.corpus.dedup.minhash import buckets, signatures
from scaling_laws.corpus.dedup.split import split

WORDS = [f"word{n}" for n in range(5000)]
SPLIT = ("train.parquet", "test.parquet", "leaks.parquet", "split.json")


def prose(seed: int, length: int = 400) -> str:
    """Return a text of random words."""
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def edited(text: str, seed: int, edits: int) -> str:
    """Return a text with some words replaced."""
    words = text.split()
    for place in random.Random(seed).sample(range(len(words)), edits):
        words[place] = f"edit{seed}x{place}"
    return " ".join(words)


def document_table(
    texts: Sequence[str], scores: Sequence[int] | None = None, first: int = 0
) -> pd.DataFrame:
    """Return documents with the scores and times of their links, numbered from `first`."""
    numbers = range(first, first + len(texts))
    urls = [f"http://host{n % 7}.example/page/{n}?from={n % 3}" for n in numbers]
    return pd.DataFrame(
        {
            "doc_id": [
                hashlib.sha256(f"{number}\n{text}".encode()).hexdigest()[:32]
                for number, text in zip(numbers, texts, strict=True)
            ],
            "url_id": [f"link{n}" for n in numbers],
            "url": urls,
            "title": [f"title {n}" for n in numbers],
            "text": pd.Series(texts, dtype=str),
            "language": "en",
            "words": [len(text.split()) for text in texts],
            "score": scores or 5,
            "created_utc": 1_500_000_000,
        }
    )


def write_shard(folder: Path, name: str, table: pd.DataFrame) -> Path:
    """Write documents and their links to files of a shard, and return that of the documents."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.documents.parquet"
    table.drop(columns=["score", "created_utc"]).to_parquet(path, index=False)
    links = table[["url_id", "score", "created_utc"]]
    links.to_parquet(folder / f"{name}.links.parquet", index=False)
    return path


def run_dedup(
    folder: Path,
    shards: Sequence[pd.DataFrame],
    *,
    threshold: float = 0.5,
    parts: int = 1,
    permutations: int = 256,
    miss_probability: float = 1e-3,
    **options: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run all steps of deduplication in a folder, and return what is kept and what is not."""
    documents, tables, pairs = [], [], []
    for number, shard in enumerate(shards):
        documents.append(write_shard(folder, str(number), shard))
        tables.append(folder / f"{number}.signatures.parquet")
        signatures(
            documents[-1],
            links=folder / f"{number}.links.parquet",
            output=tables[-1],
            threshold=threshold,
            permutations=permutations,
            miss_probability=miss_probability,
        )
    for part in range(parts):
        pairs.append(folder / f"{part}.pairs.parquet")
        buckets(tables, part=part, parts=parts, output=pairs[-1])
    kept, duplicates = folder / "kept.parquet", folder / "duplicates.parquet"
    clusters(
        documents,
        signatures=tables,
        pairs=pairs,
        output=kept,
        duplicates=duplicates,
        threshold=threshold,
        **options,
    )
    dedup(documents, kept=kept, output=folder / "documents.parquet")
    return pd.read_parquet(folder / "documents.parquet"), pd.read_parquet(duplicates)


def run_split(folder: Path, **options: Any) -> dict[str, Any]:
    """Split the deduplicated documents of a folder, and return the statistics."""
    names = dict(zip(("train", "test", "leaks", "report"), SPLIT, strict=True))
    files = {option: folder / name for option, name in names.items()}
    return split(folder / "documents.parquet", **files, **options)
