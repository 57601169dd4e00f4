"""Documents as sets of word n-grams, and what few share with many."""

import random
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_documents import edited, prose

from scaling_laws.corpus.dedup import overlap
from scaling_laws.corpus.dedup.overlap import NgramIndex, SimilarityIndex
from scaling_laws.corpus.dedup.shingles import (
    common,
    jaccard,
    jaccards,
    shingle_sets,
    shingles,
    shingles_of,
)

AWKWARD = ["İstanbul", "ΑΣ", "naïve", "日本語", "²", "٣", "_", "e\u0301", "𝔘", "“", "’", "\ud800"]
TEXT = st.lists(
    st.one_of(
        st.sampled_from([*AWKWARD, "a", "b", "A", "x" * 8, "x" * 9, "x" * 16, "x" * 17, " ", "\n"]),
        st.text(max_size=4),
    ),
    max_size=40,
).map("".join)


def ngrams(text, words):
    """The definition: tuples of the words that \\w+ finds in the lower-cased text."""
    found = re.findall(r"\w+", text.lower())
    return [tuple(found[n : n + words]) for n in range(max(len(found) - words + 1, len(found) > 0))]


@settings(deadline=None)  # the first text waits for tables of all characters
@given(texts=st.lists(TEXT, max_size=6), words=st.integers(1, 6))
def test_two_hashes_are_equal_just_when_the_words_are(texts, words):
    flat, offsets = shingles_of(texts, words)
    of_hash, of_words = {}, {}
    for text, start, end in zip(texts, offsets[:-1], offsets[1:], strict=True):
        expected = ngrams(text, words)
        assert end - start == len(expected)
        for value, gram in zip(flat[start:end].tolist(), expected, strict=True):
            assert of_hash.setdefault(value, gram) == gram
            assert of_words.setdefault(gram, value) == value


@settings(deadline=None)  # the first text waits for tables of all characters
@given(texts=st.lists(TEXT, max_size=5))
def test_a_text_has_the_same_ngrams_in_any_company(texts):
    flat, offsets = shingles_of(texts, 3)
    for text, start, end in zip(texts, offsets[:-1], offsets[1:], strict=True):
        assert shingles_of([text], 3)[0].tolist() == flat[start:end].tolist()


def test_the_hashes_are_the_same_on_every_machine():
    text = "Der Fluß floss, naïvely speaking, internationally; ΟΔΟΣ."
    assert shingles_of([text], 5)[0].tolist() == [
        18325171814449168988,
        1544224178332710882,
        17732367976776520977,
    ]


def test_a_long_batch_gives_what_its_texts_give():
    texts = [prose(n, 3000) for n in range(60)]  # several blocks
    flat, offsets = shingles_of(texts, 5)
    assert offsets[-1] == len(flat) == 60 * 2996
    assert (flat[offsets[40] : offsets[41]] == shingles_of([texts[40]], 5)[0]).all()


def test_shingles_give_the_jaccard_similarity_of_word_ngrams():
    a, b = prose(1, 300), edited(prose(1, 300), 2, 10)
    exact = len({*ngrams(a, 5)} & {*ngrams(b, 5)}) / len({*ngrams(a, 5)} | {*ngrams(b, 5)})
    assert jaccard(shingles(a, 5), shingles(b, 5)) == pytest.approx(exact)
    assert 0.3 < exact < 0.9


def test_shingles_ignore_case_and_punctuation_but_not_order():
    assert (shingles("A b, c D e!", 5) == shingles("a B c d E", 5)).all()
    assert len(shingles("a b c d e e d c b a", 5)) == 6
    assert len(shingles("too short", 5)) == 1 and len(shingles("", 5)) == 0


def some_edits(seed, count):
    rng = random.Random(seed)
    originals = [prose(n, rng.randrange(3, 200)) for n in range(12)]
    copies = [rng.choice(originals) for _ in range(count)]
    return [edited(t, n, rng.randrange(len(t.split()) // 16 + 1)) for n, t in enumerate(copies)]


def test_similarities_of_many_pairs_are_those_of_each():
    texts = [*some_edits(0, 60), "", "!", "one", "one two"]
    sets = shingle_sets(texts, 5)
    each = [{*ngrams(text, 5)} for text in texts]
    a, b = (np.random.default_rng(n).integers(0, len(texts), 500) for n in range(2))
    shared = [len(each[i] & each[j]) for i, j in zip(a, b, strict=True)]
    union = [len(each[i] | each[j]) for i, j in zip(a, b, strict=True)]
    assert common(sets, a, sets, b).tolist() == shared and max(shared) > 50
    expected = [s / u if u else 1.0 for s, u in zip(shared, union, strict=True)]
    assert jaccards(sets, a, sets, b).tolist() == expected


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("pairs_per_block", [1, 1 << 22])
def test_the_index_finds_the_similar_documents_and_no_others(
    monkeypatch, threshold, pairs_per_block
):
    monkeypatch.setattr(overlap, "PAIRS_PER_BLOCK", pairs_per_block)
    few = [*some_edits(1, 50), ""]
    many = [*some_edits(2, 120), *few[5:20], "", "word1"]
    index = SimilarityIndex([few[:20], [], few[20:]], 5, threshold)
    found = index.matches(many)
    a, b = ([{*ngrams(text, 5)} for text in texts] for texts in (many, few))
    expected = {
        (row, document): (len(one & other), len(one & other) / len(one | other))
        for row, one in enumerate(a)
        for document, other in enumerate(b)
        if one and other and len(one & other) / len(one | other) >= threshold
    }
    pairs = zip(found.row.tolist(), found.document.tolist(), strict=True)
    values = zip(found.shared.tolist(), found.jaccard.tolist(), strict=True)
    assert dict(zip(pairs, values, strict=True)) == expected
    assert len(expected) == len(found.row) > 10


def test_an_index_of_nothing_finds_nothing():
    assert len(SimilarityIndex([], 5, 0.5).matches([prose(1)]).row) == 0
    index = NgramIndex([], 5)
    index.mark([prose(1)])
    assert len(index.shares()) == 0


def test_shares_are_those_of_distinct_ngrams_that_were_marked():
    few, many = [*some_edits(3, 20), "", "word1 word1 word1"], some_edits(4, 40)
    index = NgramIndex([few[:5], few[5:]], 3)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(index.mark, [many[:10], many[10:15], many[15:]]))
    seen = {gram for text in many for gram in ngrams(text, 3)}
    sets = [{*ngrams(text, 3)} for text in few]
    expected = [len(grams & seen) / len(grams) if grams else 0.0 for grams in sets]
    assert index.shares().tolist() == pytest.approx(expected)
    assert any(0.1 < share < 0.9 for share in expected)
