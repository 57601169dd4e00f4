"""The corpus, made again with other settings: what must not change with them does not."""

import shutil

import pandas as pd
import pytest

from running import RESULTS, snakemake


@pytest.mark.parametrize("shards", [1, 16])
def test_the_number_of_shards_changes_no_byte_of_corpus_and_tokens(finished, copy, shards):
    snakemake(copy, "--config", f"links={{shards: {shards}}}", "--", "tokens")
    for folder in ("corpus", "corpora", "tokens"):
        files = [path for path in (finished / RESULTS / folder).iterdir() if path.is_file()]
        assert len(files) >= 5
        for path in files:
            assert (copy / RESULTS / folder / path.name).read_bytes() == path.read_bytes(), path


def test_a_test_document_stays_one_when_the_corpus_grows(finished, copy):
    fewer = "links={last_day: 2017-11-30}"
    snakemake(copy, "--config", fewer, "--", f"{RESULTS}/corpus/test.parquet")
    before, after = (pd.read_parquet(f / RESULTS / "corpus/test.parquet") for f in (copy, finished))
    assert 10 < len(before) < len(after)
    assert set(before["text"]) <= set(after["text"])


def test_a_crawl_with_another_timeout_fetches_no_page_again(finished, copy):
    tables = [f"{RESULTS}/crawl/{shard}.parquet" for shard in (0, 1)]
    snakemake(copy, "--config", "crawl={timeout: 4.0}", "--", *tables)
    for table in tables:
        before, after = (
            pd.read_parquet(folder / table).query("outcome == 'ok'") for folder in (finished, copy)
        )
        pd.testing.assert_frame_equal(before, after)  # when each was fetched is a column


def test_no_more_crawls_are_under_way_than_the_profile_allows(copy):
    shutil.rmtree(copy / RESULTS / "crawl")
    tables = [f"{RESULTS}/crawl/{shard}.parquet" for shard in (0, 1)]
    snakemake(copy, "--resources", "crawls=1", "--", *tables)
    fetched = [pd.read_parquet(copy / table)["fetched_at"].dropna() for table in tables]
    one, other = sorted((times.min(), times.max()) for times in fetched)
    assert one[1] < other[0]
