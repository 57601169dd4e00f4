"""MinHash signatures of documents, and the pairs that they propose as near duplicates.

A pair of documents with Jaccard similarity s of their word n-grams agrees in one row of a MinHash
signature with probability s, in all r rows of a band with s^r, and in at least one of b bands with
1 - (1 - s^r)^b: an S-curve in s. The bands are chosen so that a pair exactly at the threshold is
missed with at most a given probability; what they propose beyond that is verified away later.

How many permutations? The pairs of a corpus grow with the square of its documents, and nearly all
are barely similar: they share phrases and boilerplate. More rows in a band keep them out, and more
rows need more permutations. At a threshold of 0.5 and a miss probability of 0.02, a pair is
proposed with the chance

    permutations   bands x rows   at 0.5   at 0.2   at 0.1    at 0.05
    256            64 x 4         0.984    0.097    0.0064    4.0e-4
    640            128 x 5        0.983    0.040    0.0013    4.0e-5
    1536           256 x 6        0.982    0.016    2.6e-4    4.0e-6

Twenty million documents are 2e14 pairs. If one pair in ten thousand is at 0.05, 256 permutations
propose 8 million of them in vain, which is nothing; if one in a hundred is, 800 million, forty a
document, which take three hours of one core to verify, and 640 permutations a tenth of that for 2.5
times the disk (1 KB a document in place of 0.5).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scaling_laws.corpus.dedup.batches import read_arrays, utf8
from scaling_laws.corpus.dedup.shingles import (
    GOLDEN,
    Hashes,
    Offsets,
    Sets,
    begins_run,
    mix,
    shingles_of,
)
from scaling_laws.errors import InputError
from scaling_laws.progress import track
from scaling_laws.tables import open_table, read_batches, stream_batches

log = logging.getLogger(__name__)

TEXTS_PER_BLOCK = 64  # so that the arrays of a block stay in the processor's cache
ROWS_PER_GROUP = 1 << 14
PAIRS_PER_GROUP = 1 << 20
NEIGHBOURS = 64
BANDS_PER_READ = 8
ROUNDS = 16
EMPTY = np.uint32(2**32 - 1)

FACTS = {
    "doc_id": pa.string(),
    "content": pa.binary(16),
    "score": pa.int64(),
    "created_utc": pa.int64(),
    "bytes": pa.int64(),
    "shingles": pa.int32(),
}
PAIRS = {"a": pa.uint32(), "b": pa.uint32()}


def signatures(
    documents: Path,
    *,
    links: Path,
    output: Path,
    shingle_words: int = 5,
    permutations: int = 256,
    threshold: float = 0.5,
    miss_probability: float = 0.02,
    seed: int = 0,
) -> dict[str, object]:
    """Compute what deduplication needs to know of each document of a shard.

    The output has a row a document, in the order of the documents: doc_id; `content`, the first 128
    bits of the SHA-256 of the text; `score` and `created_utc` of the link; `bytes` of the text in
    UTF-8; the number of `shingles`, repeated ones included; and for each band a column with a
    64-bit key, equal
    for documents that agree in all its rows.

    Args:
        documents: Parquet file of the shard's documents.
        links: Parquet file of the shard's links, for their scores and times.
        output: Parquet file of the signatures.
        shingle_words: Words in an n-gram.
        permutations: Length of a MinHash signature.
        threshold: Least Jaccard similarity of near duplicates.
        miss_probability: Greatest chance that a pair exactly at the threshold is not proposed.
        seed: Seed of the MinHash permutations.

    Raises:
        InputError: When a document's link is missing, or no banding reaches the miss probability.
    """
    bands, rows = choose_bands(threshold, permutations, miss_probability)
    log.info("signatures: %s", describe_curve(bands, rows, threshold))
    schema = _schema(
        bands, shingle_words=shingle_words, permutations=permutations, rows=rows, seed=seed
    )
    row_of, ranks = _read_links(links)
    count = size = 0
    with stream_batches(output, schema, ROWS_PER_GROUP, ["content", *_keys(schema)]) as table:
        for batch in read_batches(documents, ["doc_id", "url_id", "text"]):
            texts = utf8(batch["text"])
            rows_of_links = [row_of.get(url_id, -1) for url_id in batch["url_id"].to_pylist()]
            if -1 in rows_of_links:
                row = rows_of_links.index(-1)
                raise InputError(
                    f"{documents}: document {batch['doc_id'][row]} has url_id "
                    f"{batch['url_id'][row]}, which {links} lacks; expected the links that the "
                    "shard was crawled from"
                )
            sizes, keys = [], []
            for start in range(0, len(texts), TEXTS_PER_BLOCK):
                ngrams, offsets = shingles_of(texts[start : start + TEXTS_PER_BLOCK], shingle_words)
                sizes.append(np.diff(offsets))
                signature = minhash(ngrams, offsets, permutations, seed)
                keys.append(band_keys(signature, bands, rows))
            columns = [
                batch["doc_id"].cast(pa.string()),
                pa.array(map(content_hash, texts), pa.binary(16)),
                pa.array(ranks["score"][rows_of_links]),
                pa.array(ranks["created_utc"][rows_of_links]),
                pa.array(map(len, texts), pa.int64()),
                pa.array(np.concatenate(sizes), pa.int32()),
                *map(pa.array, np.concatenate(keys, axis=1)),
            ]
            table.append(pa.RecordBatch.from_arrays(columns, schema=schema))
            count += len(texts)
            size += sum(map(len, texts))
    return {"documents": count, "bytes": size, "bands": bands, "rows": rows}


def buckets(signatures: list[Path], *, part: int, parts: int, output: Path) -> dict[str, object]:
    """List the pairs of documents that one part of the bands proposes as near duplicates.

    Exact copies count as one document. A document is named by the place of its `content` among the
    sorted distinct contents of all shards, so that neither the number nor the order of the shards
    matters. Documents with equal keys of a band are its bucket; they are ordered by a hash of
    content and band, and each is paired with the next 64. In a bucket of up to 65 these are all
    pairs. In a larger one, such as that of a site's boilerplate, the pairs of all bands together
    are a random graph, which connects documents that are alike in many ways, while its size grows
    with the documents and not with their square.

    Args:
        signatures: Parquet files of the signatures of all shards.
        part: Which part of the bands, from 0.
        parts: Number of parts.
        output: Parquet file of the pairs (a < b), some of them several times.

    Raises:
        InputError: When two shards' signatures were made with different options, or there is no
            document.
    """
    if not 0 <= part < parts:
        raise InputError(f"--part {part}: expected 0 to {parts - 1}, since --parts is {parts}")
    schema = check_signatures(signatures)
    contents = Contents(read_arrays(signatures, ["content"])["content"])
    keys = _keys(schema)[part::parts]
    metadata = {"contents": contents.fingerprint(), "part": f"{part} of {parts}"}
    pairs_schema = pa.schema(PAIRS, metadata)
    with stream_batches(output, pairs_schema, PAIRS_PER_GROUP, list(PAIRS)) as table:
        for key, of_row in track(_read_keys(signatures, keys), "buckets: bands", len(keys)):
            salt = int(key.removeprefix("band_"))
            for a, b in _neighbours(of_row[contents.first], contents.hashes[:, 0], salt):
                pair = [pa.array(np.minimum(a, b)), pa.array(np.maximum(a, b))]
                table.append(pa.RecordBatch.from_arrays(pair, schema=pairs_schema))
    return {"contents": len(contents.first), "bands": len(keys), "pairs": table.rows}


def check_signatures(signatures: Sequence[Path]) -> pa.Schema:
    """Return the schema of tables of signatures, which is that of all.

    Raises:
        InputError: When one cannot be read, or was made with other options than the first, or
            there is no document.
    """
    tables = [open_table(path, list(FACTS)) for path in signatures]
    if not sum(table.metadata.num_rows for table in tables):
        raise InputError(
            f"{', '.join(map(str, signatures))}: no document is left after extraction; the files "
            "of links, outcomes and rejected pages tell why"
        )
    schemas = [table.schema_arrow for table in tables]
    for path, schema in zip(signatures, schemas, strict=True):
        if not schema.equals(schemas[0], check_metadata=True):
            raise InputError(
                f"{path}: made with {_describe(schema)}, but {signatures[0]} with "
                f"{_describe(schemas[0])}; expected the same options for all shards"
            )
    return schemas[0]


class Contents:
    """The distinct texts of a corpus, in the order of their hashes.

    Attributes:
        hashes: Their hashes, shape (contents, 2), sorted.
        first: For each, the row of the first document that has it.
        of_row: For each row, the place of its content among them.
    """

    def __init__(self, content: Hashes) -> None:
        """Take the hash of each row's text, shape (rows, 2)."""
        order = np.lexsort((content[:, 1], content[:, 0]))
        ordered = content[order]
        new = begins_run(ordered[:, 0]) | begins_run(ordered[:, 1])
        self.hashes = ordered[new]
        self.first = order[new].astype(np.int32)
        self.of_row = np.empty(len(order), np.int32)
        self.of_row[order] = np.cumsum(new, dtype=np.int32) - 1

    def fingerprint(self) -> str:
        """Return a name of this set of contents."""
        return hashlib.sha256(self.hashes.astype(">u8").tobytes()).hexdigest()[:32]


def content_hash(text: memoryview) -> bytes:
    """Return the first 128 bits of the SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text).digest()[:16]


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
        f"--permutations {permutations} (dedup.permutations) are too few to miss at most "
        f"{miss_probability} of the pairs at --threshold {threshold} (dedup.threshold)"
    )


def describe_curve(bands: int, rows: int, threshold: float) -> str:
    """Return the S-curve of a banding in words: chance to be proposed at some similarities."""
    similarities = sorted({0.1, 0.2, 0.3, 0.4, 0.6, 0.8, threshold})
    chances = [f"{s:g}: {1 - (1 - s**rows) ** bands:.4f}" for s in similarities]
    return f"{bands} bands of {rows} rows propose pairs at similarity {', '.join(chances)}"


def minhash(
    ngrams: Hashes, offsets: Offsets, permutations: int, seed: int
) -> npt.NDArray[np.uint32]:
    """Return the MinHash signatures of sets of n-grams, shape (sets, permutations).

    Any entry of two signatures is equal with the Jaccard similarity of the sets for probability.
    An n-gram is not hashed once for each permutation, but falls into one of as many bins, each of
    which keeps its least hash. Further rounds, with other hashes, fill the bins that are still
    empty (fast similarity sketching, Dahlgaard, Knudsen and Thorup 2017); those that a small set
    leaves empty after many rounds take its least n-gram by a hash of their own. The entries of a
    set without n-grams are all equal.

    Args:
        ngrams: The n-grams of all sets as random 64-bit numbers, in any order, repeated or not.
        offsets: Shape (sets + 1); those of set i stand at offsets[i] to offsets[i + 1].
        permutations: Length of a signature, at most 65,536.
        seed: Seed of the hashes.
    """
    factors = _factors(seed, ROUNDS + permutations)
    numbers, sizes = ngrams.astype(np.uint32), np.diff(offsets)  # of random bits all are as good
    first = np.repeat(np.arange(len(sizes), dtype=np.uint32) * np.uint32(permutations), sizes)
    signatures = np.full((len(sizes), permutations), EMPTY)
    for factor in factors[:ROUNDS]:
        empty = signatures == EMPTY
        unfilled = empty.any(axis=1)
        if 2 * np.count_nonzero(unfilled) < np.count_nonzero(sizes):
            left = np.flatnonzero(np.repeat(unfilled, sizes))
            numbers, first, sizes = numbers[left], first[left], sizes * unfilled
        if not len(numbers):
            return signatures
        hashes = numbers * factor
        bins = (hashes >> np.uint32(16)) * np.uint32(permutations) >> np.uint32(16)
        least = np.full(signatures.size, EMPTY)
        np.minimum.at(least, (first + bins).astype(np.int64), hashes)
        np.copyto(signatures, least.reshape(signatures.shape), where=empty)
    row, place = np.nonzero((signatures == EMPTY) & (sizes > 0)[:, None])
    few = Sets(ngrams, offsets).take(row)
    hashes = few.values.astype(np.uint32) * np.repeat(factors[ROUNDS:][place], few.sizes)
    signatures[row, place] = np.minimum.reduceat(hashes, few.offsets[:-1])
    return signatures


def band_keys(signatures: npt.NDArray[np.uint32], bands: int, rows: int) -> Hashes:
    """Return a hash of the rows of each band, shape (bands, sets)."""
    keys = np.zeros((bands, len(signatures)), np.uint64)
    in_bands = signatures[:, : bands * rows].T.reshape(bands, rows, -1)
    for row in range(rows):
        keys *= np.uint64(GOLDEN)
        keys += in_bands[:, row]
    return mix(keys)


@cache
def _factors(seed: int, count: int) -> npt.NDArray[np.uint32]:
    """Return random odd numbers."""
    numbers = np.arange(count, dtype=np.uint64) + np.uint64(seed * GOLDEN % 2**64)
    return mix(numbers).astype(np.uint32) | np.uint32(1)


def _schema(bands: int, **options: int) -> pa.Schema:
    """Return the schema of signatures, with the options that made them."""
    keys = {f"band_{band:03}": pa.uint64() for band in range(bands)}
    return pa.schema(FACTS | keys, {name: str(value) for name, value in options.items()})


def _keys(schema: pa.Schema) -> list[str]:
    return [name for name in schema.names if name.startswith("band_")]


def _describe(schema: pa.Schema) -> str:
    """Return the options that signatures were made with, in words."""
    options = (schema.metadata or {}).items()
    return ", ".join(f"{name.decode()} {value.decode()}" for name, value in options) or "none"


def _read_links(links: Path) -> tuple[dict[str, int], dict[str, npt.NDArray[np.int64]]]:
    """Return the row of each `url_id`, and the columns of scores and times."""
    ranks = read_arrays([links], ["score", "created_utc"])
    row_of: dict[str, int] = {}
    rows = 0
    for batch in read_batches(links, ["url_id"], ROWS_PER_GROUP):
        for row, url_id in enumerate(batch["url_id"].to_pylist(), start=rows):
            if row_of.setdefault(url_id, row) != row:
                raise InputError(f"{links}: url_id {url_id} stands on two rows, expected one")
        rows += batch.num_rows
    return row_of, ranks


def _read_keys(
    signatures: Sequence[Path], keys: Sequence[str]
) -> Iterator[tuple[str, npt.NDArray[np.uint64]]]:
    """Yield the columns of some bands, a few at a time from the disk."""
    for start in range(0, len(keys), BANDS_PER_READ):
        some = keys[start : start + BANDS_PER_READ]
        yield from read_arrays(signatures, some).items()


def _neighbours(
    keys: Hashes, hashes: Hashes, salt: int
) -> Iterator[tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]]:
    """Yield the pairs of rows with equal keys that are close in an order by salted hashes."""
    order = np.argsort(keys)
    alone = begins_run(keys[order])
    alone[:-1] &= alone[1:]
    shared = order[~alone]
    drawn = mix(hashes[shared] ^ np.uint64(GOLDEN * (salt + 1) % 2**64))
    shared = shared[np.lexsort((drawn, keys[shared]))].astype(np.uint32)
    ordered = keys[shared]
    for distance in range(1, NEIGHBOURS + 1):
        near = ordered[distance:] == ordered[:-distance]
        if not near.any():
            return
        yield shared[:-distance][near], shared[distance:][near]
