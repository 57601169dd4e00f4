"""Deduplication against datasketch; what it finds against brute force; and its memory.

Usage: python benchmarks/dedup.py

The documents have 500 to 900 words with the lengths of English ones, and one in ten is a near copy
of another. Ours are the commands `signatures`, `buckets` and `clusters` with their default options,
files read and written. datasketch is given the texts of the same files: the same words, 5-grams
encoded, MinHash of 128 permutations by the quicker of its ways, and MinHashLSH at the same
threshold, asked and inserted into. Both find pairs, but only ours verifies them.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import combinations, islice
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import pandas as pd
from datasketch import MinHash, MinHashLSH
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from bars import Bar, cpu_seconds, peak_memory, show
from scaling_laws.corpus.dedup.batches import read_arrays
from scaling_laws.corpus.dedup.clusters import clusters
from scaling_laws.corpus.dedup.dedup import dedup
from scaling_laws.corpus.dedup.minhash import Contents, buckets, signatures
from scaling_laws.corpus.dedup.shingles import jaccards, shingle_sets
from scaling_laws.corpus.dedup.split import split

THRESHOLD, SHINGLE_WORDS, THEIR_PERMUTATIONS = 0.5, 5, 128
DOCUMENTS, SHARDS, REPEATS = 16_000, 2, 3
OURS_IN_A_ROW = 4  # it takes a fifteenth of the time
BY_SHINGLE = 200  # documents by datasketch's slower way
PLANTED = 5000
SIZES, SHORT, SHORT_PER_SHARD = (100_000, 200_000, 400_000), (60, 90), 25_000
RATE, RECALL, PRECISION, GROWTH = 15, 0.95, 1.0, 800

# Percent of words of English by their letters, from 1 (Norvig, English letter frequency counts).
LENGTHS = (3.0, 17.7, 20.5, 14.8, 10.7, 8.4, 7.9, 5.9, 4.4, 3.1, 1.8, 1.1, 0.7)


def measure() -> list[Bar]:
    """Measure the rate of both, the pairs that are found, and the growth of memory."""
    with tempfile.TemporaryDirectory() as folder:
        return [_rate(Path(folder)), *_pairs(Path(folder)), _memory(Path(folder))]


class Corpus:
    """Shards of documents in a folder, and the files that deduplication makes of them."""

    def __init__(self, folder: Path, shards: int) -> None:
        """Name the files."""
        self.documents, self.links, self.signatures = (
            [folder / f"{kind}-{shard}.parquet" for shard in range(shards)]
            for kind in ("documents", "links", "signatures")
        )
        self.pairs, self.kept, self.duplicates, self.all, self.train, self.test, self.leaks = (
            folder / f"{name}.parquet"
            for name in ("pairs", "kept", "duplicates", "all", "train", "test", "leaks")
        )
        self.report = folder / "split.json"

    def write(self, shard: int, texts: list[str]) -> None:
        """Write a shard."""
        names = [hashlib.sha256(f"{shard}/{n}".encode()).hexdigest() for n in range(len(texts))]
        table = pd.DataFrame(
            {
                "doc_id": [name[:32] for name in names],
                "url_id": [name[32:] for name in names],
                "url": [f"http://{name[:2]}.example/{name[2:6]}" for name in names],
                "title": "",
                "text": texts,
                "language": "en",
                "words": [text.count(" ") + 1 for text in texts],
            }
        )
        table.to_parquet(self.documents[shard], compression="zstd", row_group_size=1000)
        links = table[["url_id"]].assign(score=3, created_utc=1_500_000_000)
        links.to_parquet(self.links[shard], compression="zstd")

    def texts(self) -> Iterator[str]:
        """Yield the texts of all shards."""
        for path in self.documents:
            yield from pd.read_parquet(path, columns=["text"])["text"]

    def sign(self) -> None:
        """Run `signatures` on every shard."""
        for documents, links, output in zip(
            self.documents, self.links, self.signatures, strict=True
        ):
            signatures(documents, links=links, output=output)

    def find_pairs(self) -> None:
        """Run `buckets`."""
        buckets(self.signatures, part=0, parts=1, output=self.pairs)

    def cluster(self) -> None:
        """Run `clusters`."""
        clusters(
            self.documents,
            signatures=self.signatures,
            pairs=[self.pairs],
            output=self.kept,
            duplicates=self.duplicates,
        )

    def filter(self) -> None:
        """Run `dedup`."""
        dedup(self.documents, kept=self.kept, output=self.all)

    def divide(self) -> None:
        """Run `split`."""
        split(self.all, train=self.train, test=self.test, leaks=self.leaks, report=self.report)


def _rate(folder: Path) -> Bar:
    texts = list(made_texts(0, DOCUMENTS, (500, 900), copies=0.1))
    corpus = Corpus(folder, SHARDS)
    for shard in range(SHARDS):
        corpus.write(shard, texts[shard::SHARDS])

    def ours() -> None:
        corpus.sign()
        corpus.find_pairs()
        corpus.cluster()

    ours()  # tables of characters are made once in a process
    ways = {_by_batch: 0.0, _in_bulk: 0.0}
    for way in ways:
        ways[way] = _seconds(partial(_datasketch, texts[:1000], way))
    quicker = min(ways, key=lambda way: ways[way])
    pairs = []
    for _ in range(REPEATS):
        own = _seconds(lambda: [ours() for _ in range(OURS_IN_A_ROW)]) / OURS_IN_A_ROW
        pairs.append((own, _seconds(lambda: _datasketch(corpus.texts(), quicker))))
    slower = _seconds(partial(_datasketch, texts[:BY_SHINGLE], _by_shingle)) / BY_SHINGLE
    own, other = (DOCUMENTS / median(times) for times in zip(*pairs, strict=True))
    ratio = median(theirs / ours for ours, theirs in pairs)
    return Bar(
        "dedup",
        "documents per CPU second, of datasketch's",
        ratio,
        f">= {RATE}",
        ratio >= RATE,
        f"{own:,.0f} by signatures, buckets and clusters on {DOCUMENTS:,} documents, {other:,.0f} "
        f"by MinHash.{quicker.__name__.removeprefix('_')} and MinHashLSH; {own * slower:.0f} times "
        "update for each shingle",
    )


def _by_shingle(documents: Iterator[list[bytes]]) -> Iterator[MinHash]:
    for shingles in documents:
        sketch = MinHash(THEIR_PERMUTATIONS)
        for shingle in shingles:
            sketch.update(shingle)
        yield sketch


def _by_batch(documents: Iterator[list[bytes]]) -> Iterator[MinHash]:
    for shingles in documents:
        sketch = MinHash(THEIR_PERMUTATIONS)
        sketch.update_batch(shingles)
        yield sketch


def _in_bulk(documents: Iterator[list[bytes]]) -> Iterator[MinHash]:
    return MinHash.generator(documents, num_perm=THEIR_PERMUTATIONS)


def _datasketch(
    texts: Iterable[str], way: Callable[[Iterator[list[bytes]]], Iterator[MinHash]]
) -> None:
    """Find near duplicates with datasketch."""
    index = MinHashLSH(threshold=THRESHOLD, num_perm=THEIR_PERMUTATIONS)
    for number, sketch in enumerate(way(map(_shingles, texts))):
        index.query(sketch)
        index.insert(number, sketch)


def _shingles(text: str) -> list[bytes]:
    """Return the n-grams of a text, words apart by a space."""
    words = re.findall(r"\w+", text.lower())
    starts = range(max(len(words) - SHINGLE_WORDS + 1, 1))
    return [" ".join(words[start : start + SHINGLE_WORDS]).encode() for start in starts]


def _pairs(folder: Path) -> list[Bar]:
    """Compare the verified pairs and the clusters with all pairs by brute force.

    Pairs are of distinct texts: a pair counts as found when a band proposed it and its similarity,
    computed by the same function as in `clusters`, is at least the threshold.
    """
    texts = list(made_texts(1, PLANTED, (150, 500), copies=0.5))
    corpus = Corpus(folder, 1)
    corpus.write(0, texts)
    corpus.sign()
    corpus.find_pairs()
    corpus.cluster()
    contents = Contents(read_arrays(corpus.signatures, ["content"])["content"])
    proposed = read_arrays([corpus.pairs], ["a", "b"])
    a, b = contents.first[proposed["a"]], contents.first[proposed["b"]]
    sets = shingle_sets(texts, SHINGLE_WORDS)
    alike = jaccards(sets, a, sets, b) >= THRESHOLD
    verified = set(map(frozenset, zip(a[alike].tolist(), b[alike].tolist(), strict=True)))

    similar = _similar(texts)
    first = contents.first[contents.of_row]
    pairs = {frozenset(pair) for pair in first[np.argwhere(similar)].tolist()}
    true = {pair for pair in pairs if len(pair) == 2}
    recall, precision = len(verified & true) / len(true), len(verified & true) / len(verified)
    duplicates = pd.read_parquet(corpus.duplicates).set_index("doc_id")["kept_doc_id"]
    names = pd.read_parquet(corpus.documents[0], columns=["doc_id"])["doc_id"]
    ours = duplicates.reindex(names).fillna(pd.Series(names.array, names)).to_numpy()
    _, theirs = connected_components(similar, directed=False)
    equal = pd.DataFrame({"ours": ours, "theirs": theirs})
    whole = equal.groupby("theirs")["ours"].nunique().eq(1) & (
        equal.groupby("ours")["theirs"].nunique().eq(1).reindex(equal["ours"]).groupby(theirs).all()
    )
    detail = (
        f"{len(true)} pairs of distinct texts in {PLANTED:,} documents by brute force, "
        f"{len(verified)} proposed and verified; {whole.sum()} of {len(whole)} clusters are those "
        "that all pairs connect"
    )
    return [
        Bar("dedup", "recall of pairs", recall, f">= {RECALL}", recall >= RECALL, detail),
        Bar("dedup", "precision", precision, f">= {PRECISION}", precision >= PRECISION, detail),
    ]


def _similar(texts: list[str]) -> csr_array:
    """Return the matrix of pairs of texts that are similar, by their n-grams as they are."""
    shingles = [sorted(set(_shingles(text))) for text in texts]
    sizes = np.array([len(own) for own in shingles])
    columns, names = pd.factorize(np.array([s for own in shingles for s in own], object))
    ones, bounds = np.ones(len(columns), np.int32), np.concatenate([[0], np.cumsum(sizes)])
    has = csr_array((ones, columns, bounds), shape=(len(texts), len(names)))
    common = (has @ has.T).tocoo()
    union = sizes[common.row] + sizes[common.col] - common.data
    alike = (common.data / union >= THRESHOLD) & (common.row != common.col)
    ends = common.row[alike], common.col[alike]
    return csr_array((np.ones(alike.sum(), bool), ends), shape=(len(texts), len(texts)))


def _memory(folder: Path) -> Bar:
    """Measure the peak memory of every step in a process of its own, at three sizes."""
    shards = max(SIZES) // SHORT_PER_SHARD
    corpus = Corpus(folder, shards)
    texts = made_texts(2, max(SIZES), SHORT, copies=0.1)
    for shard in range(shards):
        corpus.write(shard, list(islice(texts, SHORT_PER_SHARD)))
    peaks: dict[str, list[int]] = {}
    for size in SIZES:
        for step in STEPS:
            arguments = [folder, str(size // SHORT_PER_SHARD), step]
            run = subprocess.run(
                [sys.executable, __file__, *arguments], capture_output=True, check=True, text=True
            )
            peaks.setdefault(step, []).append(int(run.stdout))
    growth = {
        step: max(
            (more - less) / (larger - smaller)
            for (smaller, less), (larger, more) in combinations(zip(SIZES, peak, strict=True), 2)
        )
        for step, peak in peaks.items()
    }
    worst = max(growth.values())
    in_mib = {step: ", ".join(f"{peak / 2**20:.0f}" for peak in peaks[step]) for step in STEPS}
    detail = "; ".join(f"{step} {growth[step]:.0f} ({in_mib[step]} MiB)" for step in STEPS)
    return Bar(
        "dedup",
        "peak memory per added document, bytes, of the worst step",
        worst,
        f"<= {GROWTH}",
        worst <= GROWTH,
        f"{detail} at {', '.join(f'{size:,}' for size in SIZES)} documents",
    )


STEPS = {
    "signatures": Corpus.sign,
    "buckets": Corpus.find_pairs,
    "clusters": Corpus.cluster,
    "dedup": Corpus.filter,
    "split": Corpus.divide,
}


def made_texts(seed: int, count: int, words: tuple[int, int], copies: float) -> Iterator[str]:
    """Yield texts, of which a share are copies of earlier ones with up to a fifth edited."""
    rng = np.random.default_rng(seed)
    vocabulary = _vocabulary(rng)
    earlier: list[list[str]] = []
    for _ in range(count):
        if earlier and rng.random() < copies:
            text = earlier[rng.integers(len(earlier))].copy()
            for place in rng.integers(len(text), size=int(len(text) * rng.random() / 8)):
                text[place] = vocabulary[rng.integers(len(vocabulary))]
        else:
            text = vocabulary[rng.integers(len(vocabulary), size=rng.integers(*words))].tolist()
            earlier = [*earlier[-99:], text]
        yield " ".join(text)


def _vocabulary(rng: np.random.Generator) -> npt.NDArray[np.object_]:
    """Return words, some of them with a capital, an apostrophe or a mark after them."""
    lengths = rng.choice(len(LENGTHS), 30_000, p=np.array(LENGTHS) / sum(LENGTHS)) + 1
    letters = np.array(list("etaoinshrdlucmfwypvbgk"))
    endings = rng.choice(["", ".", ",", "’s"], len(lengths), p=[0.87, 0.06, 0.06, 0.01])
    words = ("".join(rng.choice(letters, length)) for length in lengths)
    spelt = (word.capitalize() if rng.random() < 0.1 else word for word in words)
    return np.array([word + end for word, end in zip(spelt, endings, strict=True)], object)


def _seconds(run: Callable[[], object]) -> float:
    """Return the CPU seconds of a run."""
    before = cpu_seconds()
    run()
    return cpu_seconds() - before


if __name__ == "__main__":
    if len(sys.argv) == 4:
        STEPS[sys.argv[3]](Corpus(Path(sys.argv[1]), int(sys.argv[2])))
        print(peak_memory())
    else:
        show(measure())
