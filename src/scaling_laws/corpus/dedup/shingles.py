"""Documents as sets of hashed word n-grams.

A word is a run of letters, digits and underscores in the lower-cased text, as `\\w+` finds it. The
hash of an n-gram depends on its words alone: it is the same on every machine and in every process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

Hashes = npt.NDArray[np.uint64]
Offsets = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
T = TypeVar("T", bound=np.generic)

UTF8 = ("utf-8", "surrogatepass")
GOLDEN = 0x9E3779B97F4A7C15  # odd, hence invertible modulo 2^64
FIRST_BYTES = np.array([2 ** (8 * count) - 1 for count in range(9)], np.uint64)
BYTES_PER_BLOCK = 1 << 19  # the arrays of a block stay in the processor's cache
NGRAMS_PER_BLOCK = 1 << 20


def shingles(text: str, words: int) -> Hashes:
    """Return the distinct n-grams of a text's words as sorted 64-bit hashes.

    Case and punctuation are ignored. A text with fewer words than `words` is one n-gram.

    Args:
        text: The document.
        words: Words in an n-gram.
    """
    return shingle_sets([text], words).values


def shingles_of(texts: Sequence[str | memoryview], words: int) -> tuple[Hashes, Offsets]:
    """Return the n-grams of many texts, in their order in the texts and with repetitions.

    Args:
        texts: The documents, or their UTF-8.
        words: Words in an n-gram.

    Returns:
        The hashes of all texts one after another, and offsets, shape (texts + 1): those of text i
        stand at offsets[i] to offsets[i + 1]. None crosses from one text into the next.
    """
    flat, sizes = [np.empty(0, np.uint64)], [np.zeros(1, np.int64)]
    for ngrams, count in _blocks(texts, words):
        flat.append(ngrams)
        sizes.append(count)
    return np.concatenate(flat), np.cumsum(np.concatenate(sizes))


class Sets(NamedTuple):
    """Sets of n-grams, each sorted, one after another.

    Attributes:
        values: The n-grams of all sets.
        offsets: Shape (sets + 1); set i is values[offsets[i] : offsets[i + 1]].
    """

    values: Hashes
    offsets: Offsets

    @property
    def sizes(self) -> Offsets:
        """Elements of each set."""
        return np.diff(self.offsets)

    def take(self, rows: Offsets) -> Sets:
        """Return the sets at `rows`, which may repeat."""
        sizes = self.sizes[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        places = np.arange(offsets[-1])
        places += np.repeat(self.offsets[rows] - offsets[:-1], sizes)
        return Sets(self.values[places], offsets)


def shingle_sets(texts: Sequence[str | memoryview], words: int) -> Sets:
    """Return the distinct n-grams of each of many texts; arguments as of `shingles_of`."""
    values, sizes = [np.empty(0, np.uint64)], [np.zeros(1, np.int64)]
    for ngrams, count in _blocks(texts, words):
        bounds = np.concatenate([[0], np.cumsum(count)])
        for start, end in pairwise(bounds.tolist()):
            ngrams[start:end].sort()
        first = begins_run(ngrams)
        first[bounds[:-1][count > 0]] = True
        places = np.flatnonzero(first)
        values.append(ngrams[places])
        sizes.append(np.diff(np.searchsorted(places, bounds)))
    return Sets(np.concatenate(values), np.cumsum(np.concatenate(sizes)))


def common(a: Sets, rows_a: Offsets, b: Sets, rows_b: Offsets) -> npt.NDArray[np.int64]:
    """Return how many n-grams set rows_a[i] of `a` and set rows_b[i] of `b` have in common."""
    counts = np.zeros(len(rows_a), np.int64)
    for rows in portions(a.sizes[rows_a] + b.sizes[rows_b], NGRAMS_PER_BLOCK):
        both = _matrix(a.take(rows_a[rows])).multiply(_matrix(b.take(rows_b[rows])))
        counts[rows] = np.diff(both.indptr)
    return counts


def jaccards(a: Sets, rows_a: Offsets, b: Sets, rows_b: Offsets) -> npt.NDArray[np.float64]:
    """Return the Jaccard similarity of set rows_a[i] of `a` and set rows_b[i] of `b`.

    That of two empty sets is 1.
    """
    shared = common(a, rows_a, b, rows_b)
    union = a.sizes[rows_a] + b.sizes[rows_b] - shared
    return np.where(union > 0, shared / np.maximum(union, 1), 1.0)


def jaccard(a: Hashes, b: Hashes) -> float:
    """Return the Jaccard similarity of two sets given as sorted arrays of distinct values."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - shared
    return shared / union if union else 1.0


def distinct(values: npt.NDArray[T]) -> npt.NDArray[T]:
    """Return the distinct values, by sorting, which is faster than NumPy's `unique`."""
    ordered = np.sort(values)
    found: npt.NDArray[T] = ordered[begins_run(ordered)]
    return found


def begins_run(values: npt.NDArray[np.generic]) -> Mask:
    """Return whether each value is other than the one before."""
    begins = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=begins[1:])
    return begins


def portions(sizes: Offsets, limit: int) -> Iterator[Offsets]:
    """Yield the places of `sizes`, in portions that sum to about `limit` or are one place."""
    if len(sizes):
        portion = np.cumsum(sizes) // limit
        yield from np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(portion)) + 1)


def mix(values: Hashes) -> Hashes:
    """Scramble 64-bit values in place, each to another one, and return them."""
    for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
        values *= np.uint64(factor)
        values ^= values >> np.uint64(32)
    return values


def _blocks(texts: Sequence[str | memoryview], words: int) -> Iterator[tuple[Hashes, Offsets]]:
    """Yield the n-grams of texts, as many texts at once as the processor's cache holds.

    With them comes how many each text has.
    """
    block: list[bytes | memoryview] = []
    size = 0
    for number, text in enumerate(texts, start=1):
        block.append(text.encode(*UTF8) if isinstance(text, str) else text)
        size += len(block[-1])
        if size >= BYTES_PER_BLOCK or number == len(texts):
            yield _ngrams(*_words(block), words)
            block, size = [], 0


def _words(texts: list[bytes | memoryview]) -> tuple[Hashes, Offsets]:
    """Return the hashes of all words of texts in UTF-8, and how many each text has."""
    ends_of_texts = np.cumsum([len(text) + 1 for text in texts])
    joined = _join(texts)
    beyond = _beyond_ascii(joined)
    capitals = beyond.places[_is_capital()[beyond.points]]
    if len(capitals):  # Python has the rules, of which some ask for a letter's neighbours
        for text in set(np.searchsorted(ends_of_texts, capitals).tolist()):
            texts[text] = str(texts[text], *UTF8).lower().encode(*UTF8)
        ends_of_texts = np.cumsum([len(text) + 1 for text in texts])
        joined = _join(texts)
        beyond = _beyond_ascii(joined)
    joined |= _between(joined, "A", "Z").view(np.uint8) * np.uint8(32)
    inside = _between(joined, "a", "z") | _between(joined, "0", "9") | (joined == ord("_"))
    is_word = _is_word()[beyond.points]
    for byte in range(4 if len(is_word) else 0):
        more = beyond.lengths > byte
        inside[beyond.places[more] + byte] = is_word[more]

    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    counts = np.diff(np.searchsorted(starts, ends_of_texts), prepend=0)

    eight_bytes = np.ndarray(len(joined) - 7, "<u8", joined.data, strides=(1,))
    hashes = mix(_first_bytes(eight_bytes[starts], lengths))
    rest = np.flatnonzero(lengths > 8)
    done = 8
    while len(rest):
        piece = _first_bytes(eight_bytes[starts[rest] + done], lengths[rest] - done)
        hashes[rest] = mix(hashes[rest] * np.uint64(GOLDEN) + piece)
        done += 8
        rest = rest[lengths[rest] > done]
    return hashes, counts


def _first_bytes(eight_bytes: Hashes, count: Offsets) -> Hashes:
    """Return the first `count` bytes of each eight, at most all, with zeros for the others."""
    return eight_bytes & FIRST_BYTES.take(count, mode="clip")


def _between(encoded: npt.NDArray[np.uint8], first: str, last: str) -> Mask:
    """Return which bytes stand for characters of ASCII from `first` to `last`."""
    return encoded - np.uint8(ord(first)) <= ord(last) - ord(first)


def _join(texts: list[bytes | memoryview]) -> npt.NDArray[np.uint8]:
    """Return texts with a line break before and after each, and eight bytes more to be read."""
    return np.frombuffer(bytearray(b"\n" + b"\n".join(texts) + b"\n" + bytes(8)), np.uint8)


class Characters(NamedTuple):
    """Characters of a text in UTF-8: where they begin, of how many bytes, and code points."""

    places: Offsets
    lengths: Offsets
    points: Offsets


def _beyond_ascii(encoded: npt.NDArray[np.uint8]) -> Characters:
    """Return the characters of more than one byte."""
    places = np.flatnonzero(encoded >= 0xC0) if encoded.max() >= 0xC0 else np.empty(0, np.int64)
    first = encoded[places].astype(np.int64)
    lengths = 2 + (first >= 0xE0) + (first >= 0xF0)
    points = first & (0xFF >> (lengths + 1))
    for byte in range(1, 4):
        more = lengths > byte
        points[more] = points[more] << 6 | encoded[places[more] + byte] & 0x3F
    return Characters(places, lengths, points)


@cache
def _is_word() -> Mask:
    """Return for each code point whether it stands in words."""
    return np.fromiter(map(str.isalnum, map(chr, range(0x110000))), bool)


@cache
def _is_capital() -> Mask:
    """Return for each code point whether it has a small letter."""
    return np.fromiter((chr(point).lower() != chr(point) for point in range(0x110000)), bool)


def _ngrams(hashes: Hashes, counts: Offsets, words: int) -> tuple[Hashes, Offsets]:
    """Return the n-grams of texts from the hashes of their words, and how many each text has."""
    short = (counts > 0) & (counts < words)
    if short.any():  # fill up with words of hash 0
        lengths = np.where(short, words, counts)
        shift = np.cumsum(lengths - counts) - (lengths - counts)
        filled = np.zeros(lengths.sum(), np.uint64)
        filled[np.arange(len(hashes)) + np.repeat(shift, counts)] = hashes
        hashes, counts = filled, lengths
    size = max(len(hashes) - words + 1, 0)
    ngrams = hashes[:size].copy()
    for place in range(1, words):
        ngrams *= np.uint64(GOLDEN)
        ngrams += hashes[place : place + size]
    starts = np.cumsum(counts) - counts
    counts = np.maximum(counts - words + 1, 0)
    ends = starts + counts  # what begins later crosses into the next text
    texts = [ngrams[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return np.concatenate(texts), counts


def _matrix(sets: Sets) -> csr_array:
    """Return sets as the rows of a sparse matrix with a column for every hash.

    Columns are signed; SciPy asks no more of them than that they ascend in each row.
    """
    columns = (sets.values ^ np.uint64(1 << 63)).view(np.int64)
    rows = (np.ones(len(columns), bool), columns, sets.offsets)
    matrix = csr_array(rows, shape=(len(sets.offsets) - 1, 2**63 - 1))
    matrix.has_canonical_format = True
    return matrix
