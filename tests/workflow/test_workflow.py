"""The whole workflow, run for real from pages to report, and what it would do when run again."""

import html
import json
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import yaml

from running import CONFIG, RESULTS, planned_rules, snakemake
from scaling_laws.corpus.dedup.shingles import shingles
from scaling_laws.figures import FIGURES

LAWS = ("L_N", "L_D", "L_C", "L_ND", "N_C", "B_crit", "L_C_min", "L_NS", "N_opt")


def test_it_ends_with_report_figures_fits_and_tables(finished):
    results = finished / RESULTS
    for name in FIGURES:
        assert (results / f"figures/{name}.svg").stat().st_size > 10_000
        assert (results / f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")
        said = json.loads((results / f"figures/{name}.json").read_text())
        # So short a scan of batches may not determine the critical one, which figure 19 rests on.
        drawn = len(pd.read_csv(results / f"figures/{name}.csv")) > 0
        assert drawn or any("B_crit(L) is" in note for note in said["notes"]), name
        assert said["alt"] in html.unescape((results / "report.html").read_text())
    for law in LAWS:
        fit = json.loads((results / f"fits/{law}.json").read_text())
        assert fit["law"] == law and fit["n_points"] >= 4
    page = (results / "report.html").read_text()
    assert page.count("<svg") >= len(FIGURES)
    for table in ("runs", "curves", "evaluations", "positions"):
        assert len(pd.read_parquet(results / f"tables/{table}.parquet")) > 0


def test_the_losses_fall_as_models_learn(finished):
    curves = pd.read_parquet(finished / RESULTS / "tables/model_size/curves.parquet")
    ends = curves.sort_values("step").groupby("run")["test_loss"].agg(["first", "last"])
    # Natural log of 512 is what knowing nothing costs.
    assert (ends["first"] > 5.5).all() and (ends["last"] < 4.8).all()


def test_every_study_has_its_runs_and_no_table_misses_a_value(finished):
    tables = finished / RESULTS / "tables"
    runs = pd.read_parquet(tables / "runs.parquet")
    wanted = {study for names in runs["study"] for study in names}
    assert wanted == set(CONFIG["studies"])
    assert set(runs["architecture"]) == {"transformer", "lstm", "universal"}
    for name in ("runs", "curves", "evaluations", "positions"):
        table = pd.read_parquet(tables / f"{name}.parquet")
        missing = table.isna().sum()
        assert not missing.any(), (name, missing[missing > 0])
        assert set(table["run"]) == set(runs["run"])
    corpora = pd.read_parquet(tables / "evaluations.parquet").groupby("run")["corpus"].nunique()
    assert set(corpora) == {5}


def test_runs_are_evaluated_while_others_are_trained(finished):
    ended = {
        name: [path.stat().st_mtime for path in (finished / RESULTS / "runs").glob(f"*/{name}")]
        for name in ("run.json", "evaluation.parquet")
    }
    assert min(ended["evaluation.parquet"]) < sorted(ended["run.json"])[len(ended["run.json"]) // 2]


def test_every_link_has_one_outcome_and_every_fault_its_own(finished):
    results = finished / RESULTS
    links = pd.read_parquet(results / "links/links.parquet")
    outcomes = pd.concat(map(pd.read_parquet, results.glob("crawl/*.parquet")))
    assert sorted(outcomes["url_id"]) == sorted(links["url_id"])
    seen = set(outcomes["outcome"])
    assert seen >= {"ok", "robots", "http_error", "timeout", "too_large", "wrong_type"}
    assert seen >= {"redirects", "truncated"}


def test_every_page_is_a_document_or_rejected(finished):
    results = finished / RESULTS
    for shard in (0, 1):
        outcomes = pd.read_parquet(results / f"crawl/{shard}.parquet")
        documents = pd.read_parquet(results / f"documents/{shard}.parquet")
        rejected = pd.read_parquet(results / f"documents/{shard}.rejected.parquet")
        pages = outcomes.loc[outcomes["outcome"] == "ok", "url_id"]
        assert sorted([*documents["url_id"], *rejected["url_id"]]) == sorted(pages)


def test_every_document_of_every_corpus_decoded_to_itself(finished):
    for corpus in ("train", "test", "books", "wikipedia", "common_crawl", "internet_books"):
        facts = json.loads((finished / RESULTS / f"tokens/{corpus}.json").read_text())
        log = (finished / RESULTS / f"logs/encode/{corpus}.log").read_text()
        documents = facts["documents"]
        assert f"decode(encode(document)) == document: {documents} of {documents}" in log


def pairs_at(threshold, texts):
    """Return all pairs of texts with at least that similarity of 5-word shingles, exactly."""
    sets = [shingles(text, 5) for text in texts]
    holders = {}
    for index, grams in enumerate(sets):
        for gram in grams.tolist():
            holders.setdefault(gram, []).append(index)
    common = Counter()
    for indices in holders.values():
        common.update((a, b) for i, a in enumerate(indices) for b in indices[i + 1 :])
    sizes = np.array([len(grams) for grams in sets])
    return {
        pair
        for pair, shared in common.items()
        if shared / (sizes[list(pair)].sum() - shared) >= threshold
    }


def test_no_test_document_has_a_near_duplicate_in_training_by_brute_force(finished):
    results = finished / RESULTS
    everything = pd.concat(map(pd.read_parquet, results.glob("documents/*[0-9].parquet")))
    threshold = yaml.safe_load((results / "config.yaml").read_text())["dedup"]["threshold"]
    found = pairs_at(threshold, everything["text"])
    assert len(found) >= 20  # the sample's copies are there to be found
    side = {}
    for name in ("train", "test"):
        for doc_id in pd.read_parquet(results / f"corpus/{name}.parquet")["doc_id"]:
            side[doc_id] = name
    assert set(side.values()) == {"train", "test"}
    names = everything["doc_id"].to_numpy()
    leaks = [pair for pair in found if side.get(names[pair[0]]) and side.get(names[pair[1]])]
    assert leaks == []


def test_nothing_is_to_be_done_afterwards(finished):
    assert planned_rules(finished) == Counter()


def test_touched_sources_and_a_copy_elsewhere_rerun_nothing(copy):
    assert planned_rules(copy) == Counter()
    for path in [*copy.glob("src/**/*"), *copy.glob("workflow/**/*"), copy / "config.yaml"]:
        if path.is_file():
            path.touch()
    assert planned_rules(copy) == Counter()


def test_an_edit_of_dedup_reruns_dedup_and_what_follows_but_no_crawl(copy):
    source = copy / "src/scaling_laws/corpus/dedup/dedup.py"
    source.write_text(source.read_text() + "\n# an edit\n")
    rules = planned_rules(copy)
    assert {"dedup", "split", "tokenizer", "train", "fit", "figure", "report"} <= set(rules)
    assert not {"download", "sample", "links", "crawl", "extract"} & set(rules)
    source.write_text(source.read_text().removesuffix("\n# an edit\n"))
    assert planned_rules(copy) == Counter()


def test_an_edit_of_the_training_loop_retrains_nothing(copy):
    source = copy / "src/scaling_laws/training/loop.py"
    source.write_text(source.read_text() + "\n# an edit\n")
    assert "train" not in planned_rules(copy)


def test_another_learning_rate_reruns_that_study_and_what_uses_it(copy):
    overlay = copy / "config/ci.yaml"
    settings = yaml.safe_load(overlay.read_text())
    settings["studies"]["data_size"]["training"]["learning_rate"] = {"peak": 0.03}
    overlay.write_text(yaml.safe_dump(settings))
    rules = planned_rules(copy)
    subsets = len(settings["studies"]["data_size"]["vary"]["data_tokens"])
    assert rules.pop("train") == rules.pop("evaluate") == subsets
    assert rules.pop("plan_study") == rules.pop("collect_study") == 1
    assert rules.pop("fit") == 2  # L_D and L_ND
    # 1, 4, 9, 15, 16, what is held out, residuals, and the plan's cost.
    assert rules.pop("figure") == 8
    assert set(rules) == {"configuration", "plan", "collect", "held_out", "report", "lineage"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["split={test_fraction: 3}"], 'split.test_fraction = "3": Input should be less than 1'),
        (["crawl={timeuot: 3}"], "crawl.timeuot is no known key"),
        (["links={dumps: [RS_2017-11.zst]}"], "crawl.proxy = sample: it has none of the pages"),
    ],
)
def test_a_wrong_setting_stops_before_any_job(finished, settings, message):
    output = snakemake(finished, "--config", *settings, check=False)
    assert message in output
    assert "Traceback" not in output and "rule " not in output


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--set-resources", "trian:mem_mb=3", "set-resources: there is no rule trian, but all,"),
        ("--set-threads", "trian=3", "set-threads: there is no rule trian, but all,"),
        ("--set-resources", "evaluate:gpu_model=h100", "evaluate has a gpu_model, but there are"),
    ],
)
def test_what_a_profile_says_of_no_job_is_refused(finished, option, value, message):
    assert message in snakemake(finished, "--dry-run", option, value, check=False)


@pytest.mark.parametrize(("minutes", "grouped"), [(400, True), (30, False)])
def test_runs_share_a_job_where_its_time_is_within_the_limit(finished, minutes, grouped):
    limit = f"hardware={{job_minutes: {minutes}}}"
    eight = ("--group-components", "short_runs=8", "--forcerun", "train", "--config", limit)
    assert ("Group job short_runs" in snakemake(finished, "--dry-run", *eight)) is grouped


def test_a_run_on_several_machines_is_not_begun_on_one(copy):
    (run,) = (copy / RESULTS / "runs").glob("transformer-2x32-*")
    shutil.rmtree(run)
    two = ("--config", "training={gpus: 4}", "hardware={gpus_per_node: 2}")
    output = snakemake(copy, *two, "--", f"{RESULTS}/runs/{run.name}/curve.parquet", check=False)
    assert "training.gpus = 4 are those of 2 machines" in output


def test_a_single_target_leaves_the_configuration_too(copy):
    (copy / RESULTS / "config.yaml").unlink()
    output = snakemake(copy, "--dry-run", "--", "runs")
    assert "Write the resolved configuration" in output


def test_a_run_that_is_not_in_the_grid_is_named(finished):
    output = snakemake(
        finished, "-n", "--", f"{RESULTS}/runs/lstm-9x9-00000000/run.json", check=False
    )
    assert "no run lstm-9x9-00000000 in this configuration" in output


def test_braces_in_a_users_text_are_no_wildcards(finished):
    agent = "crawl={user_agent: 'x {y} z'}"
    assert planned_rules(finished, "--config", agent)["crawl"] == 2


def test_a_missing_dump_is_named_before_anything_runs(finished):
    crawl = "crawl={proxy: null, contact: me@university.edu}"
    output = snakemake(finished, "--config", "links={dumps: [none.zst]}", crawl, check=False)
    assert "config: links.dumps.0 = none.zst: no such file" in output
