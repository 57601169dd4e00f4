"""What few documents share with many: exact counts of common word n-grams.

The few are held in an index, the many are streamed past it in batches. So memory grows with the
few alone, whatever the size of the many: some 40 bytes a word of the few while an index is built,
and half of that afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scaling_laws.corpus.dedup.shingles import (
    Hashes,
    Offsets,
    Sets,
    begins_run,
    common,
    distinct,
    shingle_sets,
    shingles_of,
)

FILTER_BITS = 12  # per n-gram of the index, at least
PAIRS_PER_BLOCK = 1 << 22


class NgramIndex:
    """Marks which n-grams of a few documents occur in others.

    For instance, to decontaminate an evaluation corpus: make the index of its documents, `mark`
    the training split batch by batch, then read the `shares`. Several threads may mark at once.
    """

    def __init__(self, batches: Iterable[Sequence[str]], words: int) -> None:
        """Take the texts of the few documents, in batches.

        Args:
            batches: The texts.
            words: Words in an n-gram; a shorter text is one n-gram.
        """
        self.words = words
        self._sets = join([shingle_sets(texts, words) for texts in batches])
        self._lookup = Lookup(distinct(self._sets.values))
        self._seen = np.zeros(len(self._lookup.values), bool)

    def mark(self, texts: Sequence[str]) -> None:
        """Mark the n-grams that occur in `texts`, a batch of the many documents."""
        _, places = self._lookup.find(shingles_of(texts, self.words)[0])
        self._seen[places] = True

    def shares(self) -> npt.NDArray[np.float64]:
        """Return, for each of the few, the share of its distinct n-grams that were marked.

        The share of a document without words is 0.
        """
        sizes = self._sets.sizes
        shares = np.zeros(len(sizes))
        for document in np.flatnonzero(sizes):
            start, end = self._sets.offsets[document : document + 2]
            places = np.searchsorted(self._lookup.values, self._sets.values[start:end])
            shares[document] = self._seen[places].mean()
        return shares


class Matches(NamedTuple):
    """Pairs of similar documents, one of the many and one of the few, as parallel arrays.

    Attributes:
        row: Number of the document among those that were asked for.
        document: Number of the document in the index.
        shared: Distinct n-grams that both have.
        jaccard: Jaccard similarity of their sets of n-grams.
    """

    row: Offsets
    document: Offsets
    shared: Offsets
    jaccard: npt.NDArray[np.float64]


class SimilarityIndex:
    """Finds all documents of a few that are similar to given ones: exactly, none is missed.

    A set that is similar to a set B at least at the threshold t has at least t |B| of its elements
    (Chaudhuri, Ganti and Kaushik 2006). So it has one of any |B| - ceil(t |B|) + 1 of them, and an
    index of those that are rarest among the few is enough to find every candidate; the n-grams of
    boilerplate, which would propose everything, are seldom among them. Candidates are then counted
    in full. Several threads may ask at once.
    """

    def __init__(self, batches: Iterable[Sequence[str]], words: int, threshold: float) -> None:
        """Take the texts of the few documents, in batches.

        Args:
            batches: The texts.
            words: Words in an n-gram; a shorter text is one n-gram.
            threshold: Least Jaccard similarity of similar documents, above 0.
        """
        self.words, self.threshold = words, threshold
        self._sets = join([shingle_sets(texts, words) for texts in batches])
        self._needed = np.maximum(np.ceil(self._sets.sizes * threshold - 1e-6), 1).astype(np.int64)
        ngrams, documents = _rarest(self._sets, self._needed)
        order = np.argsort(ngrams)
        ngrams, self._documents = ngrams[order], documents[order]
        del order, documents
        starts = np.flatnonzero(begins_run(ngrams))
        self._lookup = Lookup(ngrams[starts])
        self._starts = np.append(starts, len(ngrams))

    def matches(self, texts: Sequence[str]) -> Matches:
        """Return the similar documents of `texts`, a batch of the many, by row and document."""
        asked = shingle_sets(texts, self.words)
        row, document = self._candidates(asked)
        shared = common(asked, row, self._sets, document)
        similarity = shared / (asked.sizes[row] + self._sets.sizes[document] - shared)
        similar = similarity >= self.threshold
        return Matches(row[similar], document[similar], shared[similar], similarity[similar])

    def _candidates(self, asked: Sets) -> tuple[Offsets, Offsets]:
        """Return the pairs of a row and a document that the indexed n-grams leave possible."""
        hits, places = self._lookup.find(asked.values)
        rows = np.searchsorted(asked.offsets, hits, side="right") - 1
        times = self._starts[places + 1] - self._starts[places]
        # A row's hits stay in one block, so that they can be counted; a block has few pairs, or
        # one row.
        block = np.cumsum(times) // PAIRS_PER_BLOCK
        first_of_row = np.searchsorted(rows, rows)
        found = []
        for hit in np.split(np.arange(len(hits)), np.flatnonzero(np.diff(block[first_of_row])) + 1):
            end = np.cumsum(times[hit])
            entry = np.arange(times[hit].sum())
            entry += np.repeat(self._starts[places[hit]] - end + times[hit], times[hit])
            pair = np.repeat(rows[hit], times[hit]) * len(self._needed) + self._documents[entry]
            pair, hits_of_pair = np.unique(pair, return_counts=True)
            row, document = np.divmod(pair, max(len(self._needed), 1))
            sizes, others = asked.sizes[row], self._sets.sizes[document]
            # All that the pair can share: what was hit, and what the index left out.
            shared = np.minimum(hits_of_pair + self._needed[document] - 1, sizes)
            possible = shared >= (self.threshold - 1e-9) * (sizes + others - shared)
            found.append((row[possible], document[possible]))
        return np.concatenate([row for row, _ in found]), np.concatenate([d for _, d in found])


class Lookup:
    """Sorted distinct values, and which of many others are among them.

    Most others are not, and a table of bits in front of the binary search says so of nearly all.
    """

    def __init__(self, values: Hashes) -> None:
        """Take the values, sorted and distinct."""
        self.values = values
        bits = max(math.ceil(math.log2(max(len(values), 1) * FILTER_BITS)), 3)
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(2 ** (bits - 3), np.uint8)
        place = values >> self._shift
        np.bitwise_or.at(self._table, place >> np.uint64(3), _bit(place))

    def find(self, asked: Hashes) -> tuple[Offsets, Offsets]:
        """Return which of `asked` are there, and their places among the values."""
        place = asked >> self._shift
        likely = np.flatnonzero(self._table[place >> np.uint64(3)] & _bit(place))
        places = np.searchsorted(self.values, asked[likely])
        places[places == len(self.values)] = 0
        there = self.values[places] == asked[likely] if len(self.values) else likely < 0
        return likely[there], places[there]


def join(batches: Sequence[Sets]) -> Sets:
    """Return the sets of all batches one after another."""
    sizes = [batch.sizes for batch in batches]
    values = [np.empty(0, np.uint64), *(batch.values for batch in batches)]
    return Sets(np.concatenate(values), np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes])))


def _bit(place: Hashes) -> npt.NDArray[np.uint8]:
    """Return the bit of a byte of the table that stands for a place."""
    return np.left_shift(np.uint8(1), (place & np.uint64(7)).astype(np.uint8))


def _rarest(sets: Sets, needed: Offsets) -> tuple[Hashes, npt.NDArray[np.int32]]:
    """Return all but needed - 1 of the n-grams of each set, the rarest, and whose they are.

    Equally rare n-grams are taken by their hashes.
    """
    ordered = np.sort(sets.values)
    starts = np.flatnonzero(begins_run(ordered))
    ordered = ordered[starts]
    rarity = np.diff(starts, append=len(sets.values)).astype(np.int32)
    del starts
    ngrams, documents = [np.empty(0, np.uint64)], [np.empty(0, np.int32)]
    for document, (start, end) in enumerate(pairwise(sets.offsets.tolist())):
        own = sets.values[start:end]
        count = max(len(own) - int(needed[document]) + 1, 0)
        chosen = np.argsort(rarity[np.searchsorted(ordered, own)], kind="stable")[:count]
        ngrams.append(own[chosen])
        documents.append(np.full(count, document, np.int32))
    del ordered, rarity
    return np.concatenate(ngrams), np.concatenate(documents)
