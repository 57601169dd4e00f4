"""Documents as sets of hashed word n-grams."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pandas as pd

WORD = re.compile(r"\w+")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, hence invertible modulo 2^64


def shingles(text: str, words: int) -> npt.NDArray[np.uint64]:
    """Return the distinct n-grams of a text's words as sorted 64-bit hashes.

    Case and punctuation are ignored. A text with fewer words than `words` is one n-gram.

    Args:
        text: The document.
        words: Words in an n-gram.
    """
    tokens = WORD.findall(text.lower())
    if not tokens:
        return np.empty(0, np.uint64)
    hashes = pd.util.hash_array(np.array(tokens, dtype=object))
    length = max(len(tokens) - words + 1, 1)
    grams = np.zeros(length, np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(min(words, len(tokens))):
            grams = (grams ^ (grams >> np.uint64(29))) * MULTIPLIER + hashes[
                offset : offset + length
            ]
    return np.unique(grams)


def jaccard(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> float:
    """Return the Jaccard similarity of two sets given as sorted arrays of distinct values."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    union = len(a) + len(b) - common
    return common / union if union else 1.0
