"""Exact and near duplicates, found by MinHash and verified by their true Jaccard similarity.

A pair of documents with Jaccard similarity s of their word n-grams agrees in one row of a MinHash
signature with probability s, in all r rows of a band with s^r, and in at least one of b bands with
1 - (1 - s^r)^b: an S-curve in s. The bands are chosen so that a pair exactly at the threshold is
missed with at most a given probability; what the bands propose beyond that is verified away.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from rensa import RMinHash
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scaling_laws.corpus.shingles import jaccard, shingles
from scaling_laws.errors import InputError
from scaling_laws.progress import track
from scaling_laws.tables import read_table, write_table

log = logging.getLogger(__name__)


def dedup(
    documents: list[Path],
    *,
    links: Path,
    output: Path,
    duplicates: Path,
    threshold: float = 0.5,
    shingle_words: int = 5,
    permutations: int = 256,
    miss_probability: float = 1e-6,
    seed: int = 0,
) -> dict[str, object]:
    """Keep one document of each cluster of duplicates.

    A cluster is what exact equality and similarities of at least the threshold connect. It keeps
    the document whose link has the highest score, then the earliest, then the least id.

    Args:
        documents: Parquet files of extracted documents, in any order.
        links: Parquet file of the links, for their scores and times.
        output: Parquet file of the documents that are kept.
        duplicates: Parquet file of the others, each with the kept one of its cluster.
        threshold: Least Jaccard similarity of near duplicates.
        shingle_words: Words in an n-gram.
        permutations: Length of a MinHash signature.
        miss_probability: Greatest chance that a pair exactly at the threshold is not proposed.
        seed: Seed of the MinHash permutations.

    Raises:
        InputError: When there is no document, or no banding reaches the miss probability.
    """
    corpus = pd.concat(
        [read_table(path, ("doc_id", "url_id", "text")) for path in documents], ignore_index=True
    )
    if corpus.empty:
        raise InputError(
            f"{', '.join(map(str, documents))}: no document is left after extraction; "
            "the files of links, outcomes and rejected pages tell why"
        )
    ranks = read_table(links, ("url_id", "score", "created_utc"))[
        ["url_id", "score", "created_utc"]
    ]
    corpus = corpus.merge(ranks, on="url_id", how="left").sort_values(
        ["score", "created_utc", "doc_id"], ascending=[False, True, True], ignore_index=True
    )
    # From here on the lower index is the one to keep.
    digests = [hashlib.sha256(text.encode()).digest() for text in corpus["text"]]
    original = pd.Series(corpus.index).groupby(digests).transform("min").to_numpy()
    distinct = np.unique(original)

    grams = [
        shingles(text, shingle_words)
        for text in track(corpus["text"][distinct], "dedup: shingles", total=len(distinct))
    ]
    bands, rows = choose_bands(threshold, permutations, miss_probability)
    log.info("dedup: %s", describe_curve(bands, rows, threshold))
    signatures = minhash(grams, permutations, seed)
    pairs = [
        (a, b)
        for a, b in track(set(_candidates(signatures, bands, rows)), "dedup: pairs")
        if jaccard(grams[a], grams[b]) >= threshold
    ]
    cluster = _clusters(pairs, len(distinct))
    kept_of_distinct = pd.Series(range(len(distinct))).groupby(cluster).transform("min").to_numpy()
    position = {index: place for place, index in enumerate(distinct)}
    kept = np.array([distinct[kept_of_distinct[position[index]]] for index in original])

    is_kept = kept == corpus.index
    dropped = pd.DataFrame(
        {
            "doc_id": corpus["doc_id"][~is_kept],
            "kept_doc_id": corpus["doc_id"].to_numpy()[kept[~is_kept]],
            "kind": np.where(original[kept] == original, "exact", "near")[~is_kept],
            "jaccard": [
                jaccard(grams[position[original[index]]], grams[position[kept[index]]])
                for index in np.flatnonzero(~is_kept)
            ],
        }
    )
    columns = [column for column in corpus.columns if column not in ("score", "created_utc")]
    write_table(corpus.loc[is_kept, columns].sort_values("doc_id"), output)
    write_table(dropped.sort_values("doc_id"), duplicates)
    return {
        "documents": len(corpus),
        "kept": int(is_kept.sum()),
        "dropped": dropped["kind"].value_counts().to_dict(),
    }


def choose_bands(threshold: float, permutations: int, miss_probability: float) -> tuple[int, int]:
    """Return bands and rows: the most selective that seldom enough miss a pair at the threshold.

    Raises:
        InputError: When even bands of one row miss more.
    """
    for rows in range(permutations, 0, -1):
        bands = permutations // rows
        if (1 - threshold**rows) ** bands <= miss_probability:
            return bands, rows
    raise InputError(
        f"dedup.permutations = {permutations} are too few to miss at most {miss_probability} of "
        f"the pairs at dedup.threshold = {threshold}"
    )


def describe_curve(bands: int, rows: int, threshold: float) -> str:
    """Return the S-curve of a banding in words: chance to be proposed at some similarities."""
    similarities = sorted({0.1, 0.2, 0.3, 0.4, 0.6, 0.8, threshold})
    chances = [f"{s:g}: {1 - (1 - s**rows) ** bands:.4f}" for s in similarities]
    return f"{bands} bands of {rows} rows propose pairs at similarity {', '.join(chances)}"


def minhash(
    grams: list[npt.NDArray[np.uint64]], permutations: int, seed: int
) -> npt.NDArray[np.uint32]:
    """Return the MinHash signatures, shape (documents, permutations)."""
    offsets = np.concatenate([[0], np.cumsum([len(gram) for gram in grams])]).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        np.concatenate(grams), offsets, permutations, seed
    )
    return np.array(matrix.to_rows(), np.uint32)


def _candidates(
    signatures: npt.NDArray[np.uint32], bands: int, rows: int
) -> Iterator[tuple[int, int]]:
    """Yield the pairs (a < b) that agree in all rows of a band, some of them several times."""
    for band in range(bands):
        keys = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
        _, bucket = np.unique(keys, axis=0, return_inverse=True)
        order = np.argsort(bucket, kind="stable")
        starts = np.flatnonzero(np.diff(bucket[order], prepend=-1))
        for members in np.split(order, starts[1:]):
            if len(members) > 1:
                yield from combinations(members.tolist(), 2)


def _clusters(pairs: list[tuple[int, int]], documents: int) -> npt.NDArray[np.int32]:
    """Return the number of the connected component of each document."""
    first, second = np.array(pairs, int).reshape(-1, 2).T
    edges = coo_array((np.ones(len(pairs), bool), (first, second)), shape=(documents, documents))
    return np.asarray(connected_components(edges, directed=False)[1])
