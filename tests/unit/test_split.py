"""The test split, and what of it is found in training."""

import json
import re
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from synthetic_documents import document_table, edited, prose, run_dedup, run_split

from scaling_laws.errors import InputError

OUTPUTS = ("train.parquet", "test.parquet", "leaks.parquet", "split.json")
WEAK = {"permutations": 12, "miss_probability": 0.9}  # four bands of three rows or so


def ngrams(text, words):
    found = re.findall(r"\w+", text.lower())
    return {tuple(found[n : n + words]) for n in range(len(found) - words + 1)}


def similarity(a, b):
    return len(a & b) / len(a | b)


def read(folder):
    train, test, leaks = (pd.read_parquet(folder / name) for name in OUTPUTS[:3])
    return train, test, leaks, json.loads((folder / OUTPUTS[3]).read_text())


def copied(seed, edits=(18, 60)):
    """Return originals with a copy each, from very similar to hardly."""
    originals = [prose(seed + n, 200) for n in range(150)]
    rng = np.random.default_rng(seed)
    return originals + [edited(text, n, rng.integers(*edits)) for n, text in enumerate(originals)]


def test_the_exact_check_catches_what_minhash_missed(tmp_path):
    documents, _ = run_dedup(
        tmp_path, [document_table(copied(0, (2, 30)))], test_fraction=0.3, **WEAK
    )
    run_split(tmp_path)
    train, test, leaks, report = read(tmp_path)
    sets = {row.doc_id: ngrams(row.text, 5) for row in documents.itertuples()}
    rest = documents["doc_id"][~documents["held_out"]]
    expected = {}
    for doc_id in rest:
        similar = [(-similarity(sets[doc_id], sets[other]), other) for other in test["doc_id"]]
        if -min(similar)[0] >= 0.5:
            expected[doc_id] = (min(similar)[1], -min(similar)[0])
    found = dict(
        zip(leaks["doc_id"], zip(leaks["test_doc_id"], leaks["jaccard"], strict=True), strict=True)
    )
    assert found == expected and len(expected) > 5
    assert list(train["doc_id"]) == [doc_id for doc_id in rest if doc_id not in expected]
    assert set(test["doc_id"]) == set(documents["doc_id"][documents["held_out"]])
    assert report["near_duplicates"] == {"threshold": 0.5, "dropped": len(expected), "left": 0}
    url = documents.set_index("doc_id")["url"]
    assert list(leaks["url"]) == list(url[leaks["doc_id"]])
    assert "held_out" not in train.columns and "held_out" not in test.columns


def test_a_leak_is_listed_with_the_test_document_that_it_is_most_like(tmp_path):
    text = prose(1, 200)
    table = document_table(
        [text, *(edited(text, n, edits) for n, edits in ((1, 8), (2, 3), (3, 6)))]
    )
    table["held_out"] = [False, True, True, True]
    table = pd.concat([table, document_table([prose(2)], first=9).assign(held_out=False)])
    table.drop(columns=["score", "created_utc"]).to_parquet(tmp_path / "documents.parquet")
    run_split(tmp_path)
    _, _, leaks, report = read(tmp_path)
    assert list(leaks["doc_id"]) == [table["doc_id"].iloc[0]]
    assert list(leaks["test_doc_id"]) == [table["doc_id"].iloc[2]]
    assert report["near_duplicates"]["dropped"] == 1


def test_the_report_has_the_numbers_of_a_brute_force_count(tmp_path):
    table = document_table(copied(0, (5, 60)))
    table["url"] = [
        f"http://{'www.' if (n + n // 150) % 3 else ''}host{n % 10}.co.uk/page/{n % 150}?from={n}"
        for n in range(len(table))
    ]
    run_dedup(tmp_path, [table], test_fraction=0.25)
    run_split(tmp_path, threshold=0.4, ngram_words=13)
    train, test, leaks, report = read(tmp_path)
    for name, side in (("train", train), ("test", test)):
        size = sum(len(text.encode()) for text in side["text"])
        assert report[name] == {
            "documents": len(side),
            "words": side["words"].sum(),
            "bytes": size,
            "estimated_tokens": round(size / 4.2),
        }
    assert report["near_duplicates"] == {"threshold": 0.4, "dropped": len(leaks), "left": 0}
    seen = set().union(*(ngrams(text, 13) for text in train["text"]))
    grams = [ngrams(text, 13) for text in test["text"]]
    shares = np.array([len(own & seen) / len(own) for own in grams])
    assert report["ngram_overlap"]["words"] == 13
    assert report["ngram_overlap"]["mean"] == pytest.approx(shares.mean())
    assert report["ngram_overlap"]["quantiles"]["0.9"] == pytest.approx(np.quantile(shares, 0.9))
    assert report["ngram_overlap"]["quantiles"]["1.0"] == pytest.approx(shares.max())
    above = report["ngram_overlap"]["documents_above"]
    assert above == {"0.1": (shares > 0.1).sum(), "0.5": (shares > 0.5).sum()}
    assert 0 < above["0.1"] < len(test)

    parts = {
        side: [urlsplit(url) for url in table["url"]]
        for side, table in (("train", train), ("test", test))
    }
    paths = {(part.netloc, part.path) for part in parts["train"]}
    pages = {(host.removeprefix("www."), path) for host, path in paths}
    same_path = sum((part.netloc, part.path) in paths for part in parts["test"])
    same_page = sum((p.netloc.removeprefix("www."), p.path) in pages for p in parts["test"])
    assert report["same_address"] == {
        "host_and_path": same_path,
        "canonical_url_without_query": same_page,
    }
    assert 0 < same_path < same_page < len(test)
    domains = {
        side: pd.Series([part.netloc.removeprefix("www.") for part in found]).value_counts(True)
        for side, found in parts.items()
    }
    both = pd.DataFrame(domains).fillna(0.0)
    distance = (both["train"] - both["test"]).abs().sum() / 2
    assert report["domains"]["total_variation"] == pytest.approx(distance)
    top = {row["domain"]: (row["train"], row["test"]) for row in report["domains"]["top"]}
    expected = {row.Index: pytest.approx((row.train, row.test)) for row in both.itertuples()}
    assert top == expected and len(top) == 10


def test_threads_change_no_byte(tmp_path):
    run_dedup(tmp_path, [document_table(copied(0) + copied(1000) * 4)], test_fraction=0.2, **WEAK)
    results = []
    for workers in (1, 3):
        run_split(tmp_path, workers=workers)
        results.append([(tmp_path / name).read_bytes() for name in OUTPUTS])
    assert results[0] == results[1]


@pytest.mark.parametrize(("fraction", "side"), [(0.0, "test"), (1.0, "train")])
def test_a_split_without_a_side_is_refused(tmp_path, fraction, side):
    run_dedup(tmp_path, [document_table([prose(1), prose(2)])], test_fraction=fraction)
    with pytest.raises(InputError, match=rf"leave the {side} split empty; change split\.test_frac"):
        run_split(tmp_path)
    assert not any((tmp_path / name).exists() for name in OUTPUTS)


def test_a_training_split_of_leaks_alone_is_refused(tmp_path):
    table = document_table([prose(1, 100), edited(prose(1, 100), 1, 3)])
    table = table.drop(columns=["score", "created_utc"]).assign(held_out=[True, False])
    table.to_parquet(tmp_path / "documents.parquet")
    with pytest.raises(InputError, match="all but the test split are near duplicates of it"):
        run_split(tmp_path)
    assert not (tmp_path / "train.parquet").exists()


def test_a_table_of_another_kind_is_named_with_what_it_lacks(tmp_path):
    pd.DataFrame({"held_out": [True, False]}).to_parquet(tmp_path / "documents.parquet")
    with pytest.raises(InputError, match="no column doc_id, url, text, words; found held_out"):
        run_split(tmp_path)
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "documents.parquet")
    with pytest.raises(InputError, match=r"documents\.parquet: no column held_out; found a"):
        run_split(tmp_path)
    (tmp_path / "documents.parquet").write_text("text")
    with pytest.raises(InputError, match=r"documents\.parquet: not a Parquet file"):
        run_split(tmp_path)
