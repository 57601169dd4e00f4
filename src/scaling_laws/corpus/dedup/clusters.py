"""Clusters of duplicates: which document of each is kept, and on which side of the split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from os import preadv
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scaling_laws.corpus.dedup.batches import (
    array,
    read_arrays,
    scratch,
    strings,
    utf8,
)
from scaling_laws.corpus.dedup.minhash import PAIRS, Contents, check_signatures, content_hash
from scaling_laws.corpus.dedup.shingles import Sets, distinct, jaccards, portions, shingle_sets
from scaling_laws.errors import InputError
from scaling_laws.progress import track
from scaling_laws.tables import open_table, read_batches, stream_batches

Places = npt.NDArray[np.int32]
Pairs = tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]
Mask = npt.NDArray[np.bool_]

BYTES_PER_TOKEN = 4.2  # 96 GB of text are 2.29e10 tokens (paper, section 2.3)
TEXTS_PER_BLOCK = 64
ROWS_PER_GROUP = 1 << 14
PAIRS_PER_READ = 1 << 20
PAIRS_PER_WINDOW = 1 << 22
MOST_WINDOWS = 256
PAIRS_PER_BLOCK = 1 << 18
NGRAMS_PER_READ = 1 << 22

KEPT = pa.schema({"doc_id": pa.string(), "held_out": pa.bool_()})
DUPLICATES = pa.schema(
    {
        "doc_id": pa.string(),
        "kept_doc_id": pa.string(),
        "kind": pa.string(),
        "jaccard": pa.float64(),
        "reason": pa.string(),
    }
)


def clusters(
    documents: list[Path],
    *,
    signatures: list[Path],
    pairs: list[Path],
    output: Path,
    duplicates: Path,
    threshold: float = 0.5,
    shingle_words: int = 5,
    test_fraction: float = 0.05,
    test_tokens: int | None = None,
    split_seed: int = 0,
) -> dict[str, object]:
    """Verify the proposed pairs, and choose the document that is kept of each cluster.

    A cluster is what exact equality and similarities of at least the threshold connect. It keeps
    the document whose link has the highest score, then the earliest, then the least doc_id.

    A cluster is held out for the test split if the draw of one of its documents is below the test
    fraction: a number in [0, 1), the first bits of the SHA-256 of "SEED:CONTENT", where CONTENT is
    the hash of the text. So neither shards nor order matter, and a cluster that is held out stays
    so when the corpus grows. The document that it keeps is chosen among those whose own draw is
    below the fraction: when a document that comes later joins a test document to training
    documents, it is these that are dropped.

    Memory grows with the documents, by less than 400 bytes each. Texts and pairs are read in parts;
    the n-grams of the documents in pairs lie in a folder beside the output, 8 bytes a word.

    Args:
        documents: Parquet files of extracted documents, all shards in any order.
        signatures: Parquet files of their signatures, in the same order.
        pairs: Parquet files of the proposed pairs, all parts.
        output: Parquet file of the documents that are kept, by doc_id, and whether they are
            `held_out`.
        duplicates: Parquet file of the others, by doc_id, each with the kept one of its cluster,
            whether it is an `exact` copy of that or `near`, their true Jaccard similarity, and the
            reason: `duplicate`, or `joined a test cluster` where the rule for the test split kept
            another in place of this better one.
        threshold: Least Jaccard similarity of near duplicates.
        shingle_words: Words in an n-gram.
        test_fraction: Share of the documents to hold out.
        test_tokens: Size of the test split in place of the fraction, in tokens of 4.2 bytes (paper,
            section 2.3). The fraction is then that of the distinct bytes of this corpus, so that
            test documents stay test documents only as long as the corpus does not grow.
        split_seed: Seed of the draws.

    Raises:
        InputError: When there is no document, the files do not belong together, a doc_id occurs
            twice, or the test split would be all.
    """
    corpus = Corpus(documents, signatures, shingle_words)
    _check_pairs(pairs, corpus.contents.fingerprint())
    fraction = test_fraction
    if test_tokens is not None:
        fraction = test_tokens * BYTES_PER_TOKEN / corpus.distinct_bytes
        if fraction >= 1:
            raise InputError(
                f"--test-tokens {test_tokens} (split.test_tokens) leave nothing to train on: the "
                f"distinct texts have {corpus.distinct_bytes} bytes, 4.2 a token"
            )
    of_row = corpus.contents.of_row
    pairs_of = np.zeros(len(corpus.contents.first), np.int64)
    in_pair = np.zeros(len(corpus.contents.first), bool)
    for a, b in _read_pairs(pairs):
        np.add.at(pairs_of, a, 1)
        in_pair[a] = in_pair[b] = True
    similar = Forest(len(corpus.contents.first))
    verified = 0
    with scratch(output) as folder, (folder / "ngrams").open("w+b") as file:
        ngrams = NgramFile(file, corpus, in_pair, shingle_words)
        for a, b in _distinct_pairs(_read_pairs(pairs), pairs_of, folder):
            # What is connected already needs no look; the copies in a large bucket soon are.
            apart = similar.find(a) != similar.find(b)
            a, b = a[apart], b[apart]
            alike = ngrams.jaccards(a, b) >= threshold
            similar.join(a[alike], b[alike])
            verified += len(alike)
        choice = choose(corpus, similar.roots(), draws(corpus.contents, split_seed) < fraction)
        stays = choice.kept[corpus.by_id] == corpus.by_id
        kept, dropped = corpus.by_id[stays], corpus.by_id[~stays]
        best = choice.kept[dropped]
        near = of_row[dropped] != of_row[best]
        jaccard = np.ones(len(dropped))
        jaccard[near] = ngrams.jaccards(of_row[dropped[near]], of_row[best[near]])
    kind = np.where(near, "near", "exact")
    reason = np.where(choice.joined[dropped], "joined a test cluster", "duplicate")
    _write(
        output,
        KEPT,
        len(kept),
        lambda rows: [strings(corpus.doc_id[kept[rows]]), choice.held_out[kept[rows]]],
    )
    _write(
        duplicates,
        DUPLICATES,
        len(dropped),
        lambda rows: [
            strings(corpus.doc_id[dropped[rows]]),
            strings(corpus.doc_id[best[rows]]),
            kind[rows],
            jaccard[rows],
            reason[rows],
        ],
    )
    return {
        "documents": len(corpus.doc_id),
        "kept": len(kept),
        "held_out": int(choice.held_out[kept].sum()),
        "test_fraction": fraction,
        "dropped": {"exact": int((~near).sum()), "near": int(near.sum())},
        "joined_a_test_cluster": int(choice.joined.sum()),
        "proposed_pairs": int(pairs_of.sum()),
        "verified_pairs": verified,
    }


class Corpus:
    """What the signatures tell of all documents, in the order of the shards.

    Attributes:
        documents: The shards.
        doc_id: Names of the documents, as bytes.
        by_id: Rows in the order of the names.
        score: Scores of their links.
        created_utc: Times of their links.
        contents: Their distinct texts.
        distinct_bytes: Bytes of all contents.
    """

    def __init__(
        self, documents: Sequence[Path], signatures: Sequence[Path], shingle_words: int
    ) -> None:
        """Read the signatures.

        Raises:
            InputError: When they are not those of the documents, there is none, or one is twice.
        """
        _check_shards(documents, signatures, shingle_words)
        columns = ["doc_id", "content", "score", "created_utc", "bytes"]
        facts = read_arrays(signatures, columns)
        self.documents = documents
        self.doc_id = facts["doc_id"]
        self.by_id = np.argsort(self.doc_id, kind="stable").astype(np.int32)
        ordered = self.doc_id[self.by_id]
        for name in ordered[1:][ordered[1:] == ordered[:-1]]:
            raise InputError(
                f"{', '.join(map(str, documents))}: doc_id {name.decode()} stands on two rows, "
                "expected one"
            )
        self.score, self.created_utc = facts["score"], facts["created_utc"]
        self.contents = Contents(facts["content"])
        self.distinct_bytes = int(facts["bytes"][self.contents.first].sum())


class Forest:
    """Connected components that grow edge by edge; each is named by its least member."""

    def __init__(self, members: int) -> None:
        """Begin with each member a component of its own."""
        self._parent = np.arange(members, dtype=np.int32)

    def find(self, members: npt.NDArray[np.integer]) -> Places:
        """Return the components of some members."""
        root: Places = self._parent[members]
        while (root != (above := self._parent[root])).any():
            root = above
        self._parent[members] = root
        return root

    def join(self, a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]) -> None:
        """Connect a[i] with b[i]."""
        edges = np.stack([self.find(a), self.find(b)])
        roots, ends = np.unique(edges[:, edges[0] != edges[1]], return_inverse=True)
        ends = ends.reshape(2, -1)
        graph = coo_array((np.ones(ends.shape[1], bool), ends), shape=(len(roots), len(roots)))
        _, component = connected_components(graph, directed=False)
        _, least = np.unique(component, return_index=True)  # roots ascend
        self._parent[roots] = roots[least[component]]

    def roots(self) -> Places:
        """Return the component of every member."""
        return self.find(np.arange(len(self._parent), dtype=np.int32))


class NgramFile:
    """The sets of n-grams of the contents that stand in pairs, in a file.

    Attributes:
        contents: The contents in the order of the file, which is that of the documents.
    """

    def __init__(self, file: IO[bytes], corpus: Corpus, in_pair: Mask, words: int) -> None:
        """Write the sets, each from one document with that content.

        Args:
            file: An empty file to write and read.
            corpus: The documents.
            in_pair: Which contents stand in pairs.
            words: Words in an n-gram.

        Raises:
            InputError: When a document is not the one that its signature was made from.
        """
        wanted = np.zeros(len(corpus.doc_id), bool)
        wanted[corpus.contents.first[in_pair]] = True
        self.contents = corpus.contents.of_row[wanted]
        self._place = np.full(len(in_pair), -1, np.int32)
        self._place[self.contents] = np.arange(len(self.contents), dtype=np.int32)
        self._file = file.fileno()
        sizes = [np.zeros(1, np.int64)]
        end = 0
        for path in track(corpus.documents, "clusters: shards", total=len(corpus.documents)):
            for batch in read_batches(path, ["doc_id", "text"]):
                start, end = end, end + batch.num_rows
                if (array(batch["doc_id"]) != corpus.doc_id[start:end]).any():
                    raise InputError(f"{path}: not the documents that its signatures were made of")
                here = wanted[start:end]
                texts = list(compress(utf8(batch["text"]), here))
                hashes = b"".join(map(content_hash, texts))
                own = corpus.contents.of_row[start:end][here]
                if hashes != corpus.contents.hashes[own].astype(">u8").tobytes():
                    raise InputError(f"{path}: not the texts that its signatures were made of")
                for first in range(0, len(texts), TEXTS_PER_BLOCK):
                    sets = shingle_sets(texts[first : first + TEXTS_PER_BLOCK], words)
                    sizes.append(sets.sizes)
                    file.write(sets.values.data)
        file.flush()
        self._offsets = np.cumsum(np.concatenate(sizes))

    def jaccards(
        self, a: npt.NDArray[np.integer], b: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.float64]:
        """Return the Jaccard similarity of contents a[i] and b[i]."""
        a, b = self._place[a], self._place[b]
        sizes = np.diff(self._offsets)
        result = np.empty(len(a))
        for pairs in portions(sizes[a] + sizes[b], NGRAMS_PER_READ):
            places = distinct(np.concatenate([a[pairs], b[pairs]]))
            sets = self._read(places)
            ends = (np.searchsorted(places, end[pairs]) for end in (a, b))
            result[pairs] = jaccards(sets, next(ends), sets, next(ends))
        return result

    def _read(self, places: Places) -> Sets:
        """Return the sets at places, which ascend."""
        offsets = np.concatenate([[0], np.cumsum(np.diff(self._offsets)[places])])
        values = np.empty(offsets[-1], np.uint64)
        runs = np.flatnonzero(np.diff(places, prepend=-2) != 1)
        for first, end in zip(runs.tolist(), [*runs[1:].tolist(), len(places)], strict=True):
            part = values[offsets[first] : offsets[end]].data
            if preadv(self._file, [part], 8 * int(self._offsets[places[first]])) < part.nbytes:
                raise OSError("the file of n-grams was cut off")
        return Sets(values, offsets)


class Choice(NamedTuple):
    """What becomes of each document, as parallel arrays.

    Attributes:
        kept: The row of the document that is kept of its cluster.
        held_out: Whether its cluster is held out.
        joined: Whether it would be kept but for a test document in its cluster.
    """

    kept: Places
    held_out: Mask
    joined: Mask


def choose(corpus: Corpus, cluster: Places, drawn: Mask) -> Choice:
    """Choose the document that is kept of each cluster.

    Args:
        corpus: The documents.
        cluster: The cluster of each content.
        drawn: Whether each content's own draw is below the test fraction.
    """
    is_held_out = np.zeros(len(cluster), bool)
    is_held_out[cluster[drawn]] = True
    own = cluster[corpus.contents.of_row]
    held_out = is_held_out[own]
    aside = held_out & ~drawn[corpus.contents.of_row]

    several = np.bincount(own)[own] > 1
    rows = corpus.by_id[several[corpus.by_id]]
    rows = rows[np.lexsort((corpus.created_utc[rows], -corpus.score[rows]))]  # the best first
    order = np.lexsort((aside[rows], own[rows]))
    first = np.flatnonzero(np.diff(own[rows[order]], prepend=-1))
    best = np.repeat(order[first], np.diff(first, append=len(order)))
    kept = np.arange(len(own), dtype=np.int32)
    kept[rows[order]] = rows[best]
    joined = np.zeros(len(own), bool)
    joined[rows[order]] = order < best
    return Choice(kept, held_out, joined)


def draws(contents: Contents, seed: int) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each content, uniform and a function of it and the seed."""
    result = np.empty(len(contents.hashes))
    for start in range(0, len(result), ROWS_PER_GROUP):
        names = contents.hashes[start : start + ROWS_PER_GROUP].astype(">u8").tobytes().hex()
        digests = [
            hashlib.sha256(f"{seed}:{names[place : place + 32]}".encode()).digest()[:8]
            for place in range(0, len(names), 32)
        ]
        drawn = np.frombuffer(b"".join(digests), ">u8")
        result[start : start + len(drawn)] = (drawn >> 11) / 2**53  # so that none rounds to 1
    return result


def _check_shards(
    documents: Sequence[Path], signatures: Sequence[Path], shingle_words: int
) -> None:
    """Raise an error unless these are the signatures of these documents."""
    if len(documents) != len(signatures):
        raise InputError(
            f"found {len(documents)} files of documents and {len(signatures)} of signatures, "
            "expected as many"
        )
    options = check_signatures(signatures).metadata or {}
    if (made_with := options.get(b"shingle_words", b"none").decode()) != str(shingle_words):
        raise InputError(
            f"{signatures[0]}: made with shingle_words = {made_with}, expected {shingle_words}"
        )
    for path, other in zip(documents, signatures, strict=True):
        rows, others = (open_table(table).metadata.num_rows for table in (path, other))
        if rows != others:
            raise InputError(f"{path} has {rows} rows and {other} has {others}, expected as many")


def _check_pairs(pairs: Sequence[Path], fingerprint: str) -> None:
    """Raise an error unless these are all the parts of the pairs of these contents."""
    found: set[str] = set()
    for path in pairs:
        metadata = open_table(path, list(PAIRS)).schema_arrow.metadata or {}
        if metadata.get(b"contents", b"").decode() != fingerprint:
            raise InputError(f"{path}: not the pairs of these signatures; make them again")
        found.add(metadata[b"part"].decode())
    parts = int(next(iter(found), "0 of 1").split()[-1])
    if absent := {f"{part} of {parts}" for part in range(parts)} - found:
        raise InputError(
            f"{', '.join(map(str, pairs)) or 'no pairs'}: part {min(absent)} of the pairs is absent"
        )


def _read_pairs(pairs: Sequence[Path]) -> Iterator[Pairs]:
    """Yield the proposed pairs of contents of all parts, some of them several times."""
    for path in pairs:
        for batch in read_batches(path, list(PAIRS), PAIRS_PER_READ):
            yield array(batch["a"]), array(batch["b"])


def _distinct_pairs(
    pairs: Iterator[Pairs], pairs_of: npt.NDArray[np.int64], folder: Path
) -> Iterator[Pairs]:
    """Yield every proposed pair once, sorted, in blocks.

    Args:
        pairs: The pairs of contents.
        pairs_of: How often each content is the first of a pair.
        folder: Where pairs are put that do not fit in memory.
    """
    windows = min(MOST_WINDOWS, int(pairs_of.sum()) // PAIRS_PER_WINDOW) + 1
    window_of = np.cumsum(pairs_of) * windows // (pairs_of.sum() + 1)
    files = [folder / f"pairs-{window}" for window in range(windows)]
    for a, b in pairs:
        keys = distinct(a.astype(np.uint64) << np.uint64(32) | b)
        cuts = np.searchsorted(window_of[keys >> np.uint64(32)], np.arange(1, windows))
        for path, part in zip(files, np.split(keys, cuts), strict=True):
            with path.open("ab") as file:
                part.tofile(file)
    for path in filter(Path.exists, files):
        keys = distinct(np.fromfile(path, np.uint64))
        path.unlink()
        for start in range(0, len(keys), PAIRS_PER_BLOCK):
            block = keys[start : start + PAIRS_PER_BLOCK]
            yield (block >> np.uint64(32)).astype(np.uint32), block.astype(np.uint32)


def _write(
    path: Path,
    schema: pa.Schema,
    rows: int,
    columns: Callable[[slice], list[pa.Array | npt.NDArray[np.generic]]],
) -> None:
    """Write a table whose columns can be computed slice by slice."""
    with stream_batches(path, schema, ROWS_PER_GROUP) as table:
        for start in range(0, rows, ROWS_PER_GROUP):
            arrays = map(pa.array, columns(slice(start, start + ROWS_PER_GROUP)))
            table.append(pa.RecordBatch.from_arrays(list(arrays), schema=schema))
