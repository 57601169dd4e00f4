"""The held-out test split (paper, section 2.3)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from scaling_laws.errors import InputError
from scaling_laws.tables import read_table, write_table


def split(
    documents: Path, *, train: Path, test: Path, test_fraction: float = 0.05, seed: int = 0
) -> dict[str, object]:
    """Divide the deduplicated documents into training and test split.

    A document's side is a function of its id and the seed alone, so it keeps it when others come
    or go. The documents are one a cluster of near duplicates, so none has one on the other side.

    Args:
        documents: Parquet file of the deduplicated documents.
        train: Parquet file of the training split.
        test: Parquet file of the test split.
        test_fraction: Share of the documents to hold out.
        seed: Seed of the assignment.

    Raises:
        InputError: When one side would be empty.
    """
    corpus = read_table(documents, ("doc_id", "text", "words"))
    held_out = corpus["doc_id"].map(lambda name: position(name, seed) < test_fraction).astype(bool)
    for name, size in (("train", (~held_out).sum()), ("test", held_out.sum())):
        if size == 0:
            raise InputError(
                f"{documents}: {len(corpus)} documents and split.test_fraction = {test_fraction} "
                f"leave the {name} split empty"
            )
    write_table(corpus[~held_out], train)
    write_table(corpus[held_out], test)
    return {
        "train": {
            "documents": int((~held_out).sum()),
            "words": int(corpus["words"][~held_out].sum()),
        },
        "test": {"documents": int(held_out.sum()), "words": int(corpus["words"][held_out].sum())},
    }


def position(name: str, seed: int) -> float:
    """Return a number in [0, 1) that is uniform over names and a function of name and seed."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
