"""Deduplication: signatures, pairs, clusters, and what is kept."""

import random
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_documents import (
    SPLIT,
    document_table,
    edited,
    prose,
    run_dedup,
    run_split,
    write_shard,
)

from scaling_laws.corpus.dedup import clusters as clusters_module
from scaling_laws.corpus.dedup import dedup as dedup_module
from scaling_laws.corpus.dedup.clusters import clusters
from scaling_laws.corpus.dedup.dedup import dedup
from scaling_laws.corpus.dedup.minhash import buckets, choose_bands, minhash, signatures
from scaling_laws.corpus.dedup.shingles import jaccard, shingles
from scaling_laws.errors import InputError
from scaling_laws.tables import stream_batches


def with_copies(documents, copies, edits=40):
    """Return texts of which some are edited or exact copies of others."""
    rng = random.Random(0)
    texts = [prose(n, 200) for n in range(documents)]
    return texts + [
        edited(rng.choice(texts), n, rng.choice([0, *range(1, edits)])) for n in range(copies)
    ]


def scattered(texts):
    """Return documents with scores and times that often tie."""
    rng = random.Random(1)
    table = document_table(texts)
    table["score"] = [rng.randrange(3, 6) for _ in texts]
    table["created_utc"] = [rng.randrange(2) for _ in texts]
    return table


def test_duplicates_are_dropped_and_named_with_what_was_kept(tmp_path):
    texts = [prose(n) for n in range(60)]
    texts += [texts[0], edited(texts[1], 7, 8), edited(texts[2], 7, 200)]
    table = document_table(texts, scores=[5] * 60 + [4, 4, 4])
    kept, duplicates = run_dedup(tmp_path, [table], test_fraction=0)
    assert len(kept) == 61
    pairs = {row.doc_id: row for row in duplicates.itertuples()}
    exact, near = pairs[table["doc_id"][60]], pairs[table["doc_id"][61]]
    assert (exact.kept_doc_id, exact.kind, exact.jaccard) == (table["doc_id"][0], "exact", 1.0)
    assert (near.kept_doc_id, near.kind) == (table["doc_id"][1], "near")
    true = jaccard(shingles(texts[1], 5), shingles(texts[61], 5))
    assert near.jaccard == true and 0.5 < true < 1
    assert exact.reason == near.reason == "duplicate"


def test_the_best_document_is_kept_by_score_then_time_then_name(tmp_path):
    copies = [edited(prose(1), n, 5) for n in range(6)]
    table = document_table(copies).sort_values("doc_id", ignore_index=True)
    table["score"] = [8, 9, 9, 9, 3, 9]
    table["created_utc"] = [5, 7, 6, 6, 1, 8]
    kept, duplicates = run_dedup(tmp_path, [table.sample(frac=1, random_state=0)], test_fraction=0)
    assert list(kept["doc_id"]) == [table["doc_id"][2]]
    assert set(duplicates["kept_doc_id"]) == set(kept["doc_id"])


def test_no_kept_pair_is_at_the_threshold_by_brute_force(tmp_path):
    kept, duplicates = run_dedup(tmp_path, [scattered(with_copies(40, 160))])
    grams = [shingles(text, 5) for text in kept["text"]]
    assert max(jaccard(a, b) for i, a in enumerate(grams) for b in grams[:i]) < 0.5
    assert len(kept) + len(duplicates) == 200 and len(duplicates) > 60


def test_clusters_are_what_similar_pairs_connect(tmp_path):
    table = scattered(with_copies(30, 90))
    kept, duplicates = run_dedup(tmp_path, [table])
    name = dict(zip(duplicates["doc_id"], duplicates["kept_doc_id"], strict=True))
    found = {doc_id: name.get(doc_id, doc_id) for doc_id in table["doc_id"]}
    grams = [shingles(text, 5) for text in table["text"]]
    ids = list(table["doc_id"])
    cluster = {doc_id: {doc_id} for doc_id in ids}
    for i, a in enumerate(grams):
        for j, b in enumerate(grams[:i]):
            if jaccard(a, b) >= 0.5 and cluster[ids[i]] is not cluster[ids[j]]:
                joined = cluster[ids[i]] | cluster[ids[j]]
                cluster |= dict.fromkeys(joined, joined)
    assert set(kept["doc_id"]) == set(found.values())
    for members in cluster.values():
        assert len({found[doc_id] for doc_id in members}) == 1
    assert len({id(members) for members in cluster.values()}) == len(kept)
    place = {doc_id: number for number, doc_id in enumerate(ids)}
    for row in duplicates.itertuples():
        true = jaccard(grams[place[row.doc_id]], grams[place[row.kept_doc_id]])
        assert row.jaccard == true
        same = table["text"][place[row.doc_id]] == table["text"][place[row.kept_doc_id]]
        assert row.kind == ("exact" if same else "near")
    assert {"exact", "near"} == set(duplicates["kind"])


RESULTS = ("kept.parquet", "duplicates.parquet", "documents.parquet", *SPLIT)


def test_shards_parts_and_portions_change_no_byte(tmp_path, monkeypatch):
    table = scattered(with_copies(300, 700))

    def run(folder, shards, parts):
        rows = np.random.default_rng(shards).permutation(len(table))
        pieces = [table.iloc[piece] for piece in np.array_split(rows, shards)]
        run_dedup(tmp_path / folder, pieces, parts=parts, test_fraction=0.2)
        run_split(tmp_path / folder, workers=parts)
        return {name: (tmp_path / folder / name).read_bytes() for name in RESULTS}

    one = run("one", shards=1, parts=1)
    assert run("four", shards=4, parts=3) == one
    monkeypatch.setattr(clusters_module, "PAIRS_PER_WINDOW", 100)
    monkeypatch.setattr(clusters_module, "PAIRS_PER_BLOCK", 20)
    monkeypatch.setattr(clusters_module, "NGRAMS_PER_READ", 1000)
    monkeypatch.setattr(clusters_module, "ROWS_PER_GROUP", 1 << 14)
    monkeypatch.setattr(dedup_module, "BYTES_PER_PART", 100_000)
    assert run("sixteen", shards=16, parts=2) == one
    assert list(pd.read_parquet(tmp_path / "one/documents.parquet")["doc_id"]) == sorted(
        set(table["doc_id"]) - set(pd.read_parquet(tmp_path / "one/duplicates.parquet")["doc_id"])
    )
    assert not list(tmp_path.rglob(".*"))


def test_a_test_document_stays_one_when_the_corpus_grows(tmp_path):
    fraction = {"test_fraction": 0.3, "threshold": 0.4}
    before = document_table([prose(n, 200) for n in range(120)], scores=[9] * 120)
    run_dedup(tmp_path / "before", [before], **fraction)
    run_split(tmp_path / "before", threshold=0.4)
    test, train = (
        pd.read_parquet(tmp_path / "before" / f"{side}.parquet") for side in ("test", "train")
    )
    assert 20 < len(test) < 60
    # A document made of a test and a training document is similar to both; others are new.
    bridges = [f"{a} {b}" for a, b in zip(test["text"][:15], train["text"][:15], strict=True)]
    news = [prose(n, 200) for n in range(1000, 1100)]
    later = document_table(bridges + news, scores=[3] * 115, first=1000)
    _, duplicates = run_dedup(tmp_path / "after", [before, later], **fraction)
    run_split(tmp_path / "after", threshold=0.4)
    new_test, new_train = (
        set(pd.read_parquet(tmp_path / "after" / f"{side}.parquet")["doc_id"])
        for side in ("test", "train")
    )
    assert set(test["doc_id"]) <= new_test
    joined = duplicates[duplicates["reason"] == "joined a test cluster"]
    assert set(train["doc_id"][:15]) == set(joined["doc_id"])
    assert set(joined["kept_doc_id"]) == set(test["doc_id"][:15])
    assert set(train["doc_id"][15:]) <= new_train
    assert set(later["doc_id"][:15]) <= set(duplicates["doc_id"])
    assert set(later["doc_id"][15:]) <= new_train | new_test


def test_a_document_keeps_its_side_when_others_go(tmp_path):
    table = document_table([prose(n, 60) for n in range(300)])
    all_of_it, _ = run_dedup(tmp_path / "all", [table], test_fraction=0.2)
    some, _ = run_dedup(tmp_path / "some", [table[100:]], test_fraction=0.2)
    side = all_of_it.set_index("doc_id")["held_out"]
    assert list(some["held_out"]) == list(side[some["doc_id"]])
    assert 0.1 < side.mean() < 0.3


def test_the_seed_moves_the_split(tmp_path):
    table = document_table([prose(n, 60) for n in range(100)])
    sides = [
        run_dedup(tmp_path / str(seed), [table], test_fraction=0.5, split_seed=seed)[0]["held_out"]
        for seed in range(2)
    ]
    assert 20 < (sides[0] != sides[1]).sum() < 80


def test_the_test_split_can_be_asked_for_in_tokens(tmp_path):
    table = document_table([prose(n, 60) for n in range(400)] + [prose(0, 60)] * 100)
    kept, _ = run_dedup(tmp_path, [table], test_tokens=10_000)
    size = kept["text"][kept["held_out"]].str.len().sum()
    assert 0.7 < size / 4.2 / 10_000 < 1.3
    with pytest.raises(
        InputError, match=r"--test-tokens 999999 \(split\.test_tokens\) leave nothing to train on"
    ):
        run_dedup(tmp_path, [table], test_tokens=999_999)


def test_bands_miss_a_pair_at_the_threshold_seldom_enough():
    bands, rows = choose_bands(0.5, 1024, 1e-6)
    assert bands * rows <= 1024 and (1 - 0.5**rows) ** bands <= 1e-6
    assert (1 - 0.5 ** (rows + 1)) ** (1024 // (rows + 1)) > 1e-6
    with pytest.raises(InputError, match=r"--permutations 4 \(dedup\.permutations\) are too few"):
        choose_bands(0.5, 4, 1e-6)


@pytest.mark.parametrize("size", [1, 3, 40, 600])
@pytest.mark.parametrize("similarity", [0.0, 1 / 3, 1 / 2, 1.0])
def test_entries_of_signatures_agree_as_often_as_sets_are_similar(size, similarity):
    common = round(2 * size * similarity / (1 + similarity))
    true, pairs, permutations = common / (2 * size - common), 400, 128
    values = np.random.default_rng(size).integers(0, 2**64, (pairs, 2 * size), dtype=np.uint64)
    offsets = np.arange(pairs + 1) * size
    both = [
        minhash(part.ravel(), offsets, permutations, seed=1)
        for part in (values[:, :size], values[:, size - common : 2 * size - common])
    ]
    agree = (both[0] == both[1]).mean()
    deviation = (true * (1 - true) / pairs / permutations) ** 0.5
    assert abs(agree - true) <= 4 * deviation
    assert (
        both[0] == minhash(values[:, :size].ravel(), offsets, permutations, seed=2)
    ).mean() < 0.05


def test_copies_of_a_template_make_one_cluster_and_few_pairs(tmp_path):
    texts = [edited(prose(0, 300), n, 2) for n in range(600)]
    kept, duplicates = run_dedup(tmp_path, [document_table(texts)], test_fraction=0)
    assert len(kept) == 1 and len(duplicates) == 599
    pairs = pd.read_parquet(tmp_path / "0.pairs.parquet")
    found = buckets([tmp_path / "0.signatures.parquet"], part=0, parts=1, output=tmp_path / "p")
    assert found["pairs"] == len(pairs) <= 64 * 600 * found["bands"]
    per_band = len(pairs) / found["bands"]
    assert per_band < 600 * 599 / 2 / 2  # all pairs of most buckets would be more


def test_documents_without_words_are_copies_of_each_other(tmp_path):
    texts = ["!!! ???", "— … —", *(prose(n, 60) for n in range(3))]
    kept, duplicates = run_dedup(tmp_path, [document_table(texts)], test_fraction=0)
    assert len(kept) == 4 and list(duplicates["jaccard"]) == [1.0]


def test_more_columns_pass_through(tmp_path):
    table = document_table([prose(n, 60) for n in range(20)])
    table["mojibake"] = range(20)
    kept, _ = run_dedup(tmp_path, [table[:10], table[10:]])
    expected = table.sort_values("doc_id").drop(columns=["score", "created_utc"])
    assert kept.drop(columns="held_out").to_dict("records") == expected.to_dict("records")


def test_an_empty_corpus_is_told(tmp_path):
    with pytest.raises(InputError, match="no document is left after extraction"):
        run_dedup(tmp_path, [document_table([])])


def test_an_empty_shard_is_none(tmp_path):
    table = document_table([prose(n, 60) for n in range(20)])
    kept, _ = run_dedup(tmp_path, [table[:0], table])
    assert len(kept) == 20


def test_a_document_whose_link_is_absent_is_named(tmp_path):
    table = document_table([prose(1), prose(2)])
    path = write_shard(tmp_path, "0", table)
    links = tmp_path / "links.parquet"
    table[["url_id", "score", "created_utc"]][:1].to_parquet(links)
    with pytest.raises(InputError, match=rf"document {table['doc_id'][1]} has url_id link1, which"):
        signatures(path, links=links, output=tmp_path / "s")
    table[["url_id", "score", "created_utc"]].iloc[[0, 1, 0]].to_parquet(links)
    with pytest.raises(InputError, match=r"links\.parquet: url_id link0 stands on two rows"):
        signatures(path, links=links, output=tmp_path / "s")
    table.assign(score=[1, None])[["url_id", "score", "created_utc"]].to_parquet(links)
    with pytest.raises(InputError, match=r"links\.parquet: row 2: score is empty"):
        signatures(path, links=links, output=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_document_that_stands_twice_is_named(tmp_path):
    table = document_table([prose(1), prose(2)])
    with pytest.raises(InputError, match=rf"doc_id {table['doc_id'][1]} stands on two rows"):
        run_dedup(tmp_path, [table, table[1:]])


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    table = document_table([prose(1), prose(2), edited(prose(2), 1, 3), edited(prose(1), 1, 3)])
    run_dedup(tmp_path, [table[:2], table[2:]])
    documents, tables = (
        [tmp_path / f"{n}.{kind}.parquet" for n in range(2)] for kind in ("documents", "signatures")
    )
    options = {"output": tmp_path / "o", "duplicates": tmp_path / "d"}

    def cluster(documents=documents, tables=tables, pairs=("0.pairs.parquet",), **more):
        paths = [tmp_path / name for name in pairs]
        clusters(documents, signatures=tables, pairs=paths, **options, **more)

    with pytest.raises(InputError, match="found 2 files of documents and 1 of signatures"):
        cluster(tables=tables[:1])
    with pytest.raises(InputError, match=r"0\.signatures\.parquet: made with shingle_words = 5"):
        cluster(shingle_words=6)
    with pytest.raises(InputError, match="not the documents that its signatures were made of"):
        cluster(documents=documents[::-1])
    buckets(tables[:1], part=0, parts=1, output=tmp_path / "other")
    with pytest.raises(InputError, match="other: not the pairs of these signatures"):
        cluster(pairs=["other"])
    buckets(tables, part=1, parts=3, output=tmp_path / "1 of 3")
    with pytest.raises(InputError, match="part 0 of 3 of the pairs is absent"):
        cluster(pairs=["1 of 3"])
    with pytest.raises(InputError, match="part 0 of 1 of the pairs is absent"):
        cluster(pairs=[])
    with pytest.raises(InputError, match=r"--part 3: expected 0 to 2, since --parts is 3"):
        buckets(tables, part=3, parts=3, output=tmp_path / "p")
    signatures(
        documents[1], links=tmp_path / "1.links.parquet", output=tmp_path / "s", permutations=300
    )
    with pytest.raises(InputError, match=r"s: made with .*permutations 300.*, but .* 256"):
        cluster(tables=[tables[0], tmp_path / "s"])
    changed = table[2:].assign(text=[prose(5), prose(6)])
    write_shard(tmp_path, "1", changed)
    with pytest.raises(InputError, match=r"1\.documents\.parquet: not the texts that its signatur"):
        cluster()
    write_shard(tmp_path, "1", changed[:1])
    with pytest.raises(InputError, match=r"1\.documents\.parquet has 1 rows and .* has 2"):
        cluster()
    assert not (tmp_path / "o").exists() and not list(tmp_path.glob(".*"))


def test_shards_that_were_not_clustered_are_refused(tmp_path):
    table = document_table([prose(n, 60) for n in range(4)])
    run_dedup(tmp_path, [table[:2], table[2:]])
    documents = [tmp_path / f"{n}.documents.parquet" for n in range(2)]
    options = {"kept": tmp_path / "kept.parquet", "output": tmp_path / "o"}
    with pytest.raises(InputError, match=r"kept\.parquet: document \w+ is in none of the shards"):
        dedup(documents[:1], **options)
    with pytest.raises(InputError, match=r"0\.documents\.parquet: document \w+ stood in a shard"):
        dedup([*documents, documents[0]], **options)
    write_shard(tmp_path, "1", table[2:].assign(language=5))
    with pytest.raises(InputError, match=r"1\.documents\.parquet: columns .*language int64"):
        dedup(documents, **options)
    pd.DataFrame({"doc_id": pd.Series([], dtype=str), "held_out": []}).to_parquet(tmp_path / "none")
    with pytest.raises(InputError, match="none: no document is kept"):
        dedup(documents[:1], kept=tmp_path / "none", output=tmp_path / "o")
    assert not (tmp_path / "o").exists() and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("sizes", [[2500], [1] * 2500, [999, 1, 1, 1499], [1001, 0, 1499]])
def test_rows_give_the_same_bytes_however_they_were_divided_into_batches(tmp_path, sizes):
    rows = pa.table({"name": [str(n) for n in range(2500)], "number": range(2500)})
    places = np.cumsum([0, *sizes])
    for path, cuts in ((tmp_path / "a", [0, 2500]), (tmp_path / "b", places.tolist())):
        with stream_batches(path, rows.schema) as table:
            for start, end in pairwise(cuts):
                table.append(pa.RecordBatch.from_pylist(rows[start:end].to_pylist(), rows.schema))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert pq.ParquetFile(tmp_path / "b").metadata.row_group(0).num_rows == 1000
