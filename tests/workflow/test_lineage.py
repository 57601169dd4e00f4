"""What the manifests of a whole workflow tell, in a copy without Snakemake's own records."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer

from running import CONFIG, RESULTS, planned_rules, refused, scaling_laws, snakemake
from scaling_laws.lineage.graph import Graph
from scaling_laws.lineage.record import evaluated_on


def told(folder, *words):
    words = (*words, "--results", RESULTS)
    return json.loads(scaling_laws(folder, "trace", *words, "--as-json"))


def findings(folder, results=RESULTS, code=1):
    output = scaling_laws(folder, "verify", results, "--as-json", code=code)
    found = json.loads(output)["findings"]
    return {(each["kind"], each["path"].removeprefix(f"{results}/")) for each in found}


def test_no_job_reads_what_its_rule_does_not_name(finished):
    rows = [line.split("\t") for line in snakemake(finished, "--detailed-summary").splitlines()]
    start = next(place for place, row in enumerate(rows) if row[0] == "output_file")
    columns = rows[start]
    declared, rules = {}, {}
    for row in rows[start + 1 :]:
        if len(row) == len(columns):
            named = dict(zip(columns, row, strict=True))
            declared[named["output_file"]] = set(named["input-file(s)"].split(","))
            rules[named["output_file"]] = named["rule"]
    jobs = told(finished, f"{RESULTS}/report.html")["jobs"]
    assert len({job["rule"] for job in jobs}) >= 25
    basis = f"{RESULTS}/tokens/basis.json"
    listed = json.loads((finished / basis).read_text())["files"]
    stands_for = {basis: {f"{RESULTS}/tokens/{name}" for name in listed}}
    assert stands_for[basis] <= declared[basis]  # whose change makes it anew
    undeclared, compared = {}, set()
    for job in jobs:
        # Not every file is named: snapshots lie in a folder that is, packages beside their list.
        first = next(file["path"] for file in job["outputs"] if file["path"] in declared)
        assert job["rule"] == rules[first]
        compared.add(job["rule"])
        ours = (f"{RESULTS}/", "src/")
        read = {file["path"] for file in job["inputs"] if file["path"].startswith(ours)}
        # The snapshots of a run are named as a folder.
        read = {path for path in read if "/snapshots/" not in path}
        # One file that a rule waits for may stand for others, which it names with their hashes.
        named = declared[first].union(*(stands_for.get(path, ()) for path in declared[first]))
        if read - named:
            undeclared[job["rule"]] = read - named
    assert undeclared == {}
    assert compared == {job["rule"] for job in jobs}


def test_a_figure_leads_to_the_dumps_and_counts_its_pages(finished):
    answer = told(finished, f"{RESULTS}/figures/fig01.svg")
    rules = {job["rule"] for job in answer["jobs"]}
    assert rules >= {"figure", "fit", "collect_study", "train", "encode", "crawl", "links"}
    outcomes = pd.concat(map(pd.read_parquet, (finished / RESULTS / "crawl").glob("*.parquet")))
    assert answer["totals"]["pages"] == (outcomes["outcome"] == "ok").sum()
    assert "download" in rules and any("packages.txt" in path for path in answer["sources"])
    tree = scaling_laws(finished, "trace", f"{RESULTS}/figures/fig01.svg")
    assert "Dumps: RS_2017-11, RS_2018-03" in tree and "pages" in tree
    assert len(tree.splitlines()) < 60  # of hundreds of jobs
    onward = told(finished, f"{RESULTS}/sample/RS_2018-03.zst", "--forward")
    assert {"links", "train", "report"} <= {job["rule"] for job in onward["jobs"]}


def of(finished, name):
    return pd.concat(map(pd.read_parquet, sorted((finished / RESULTS).glob(name))))


def test_each_page_has_its_story(finished):
    crawl = of(finished, "crawl/*.parquet").set_index("url_id")
    table = of(finished, "tokens/train.documents.parquet").set_index("doc_id")
    order = np.arange(len(table))
    np.random.default_rng(0).shuffle(order)
    first = table.index[order[0]]  # in the subset of every run
    page = of(finished, "corpus/train.parquet").set_index("doc_id", drop=False).loc[first]
    story = told(finished, "--url", page["url"])
    assert story["fetch"]["outcome"] == "ok" and story["split"] == "train"
    assert story["submissions"] and story["document"]["doc_id"] == page["doc_id"]
    assert story["ends"] == "Its text is in the train split."
    place = story["tokens"]
    assert (place["offset"], place["tokens"]) == tuple(table.loc[first, ["offset", "tokens"]])
    assert place["file"] == f"{RESULTS}/tokens/train.bin"
    times = {row["run"]: row["times"] for row in story["runs"]}
    runs = of(finished, "tables/runs.parquet").set_index("run")
    assert set(times) == set(runs.index)
    # A run over few tokens passes over them often.
    expected = runs["tokens"] / runs["D"]
    assert all(abs(times[run] - expected[run]) < 1 for run in runs.index)
    for row in story["runs"]:
        run = json.loads((finished / RESULTS / f"runs/{row['run']}/run.json").read_text())
        assert row["kept_step"] == run["step"]
        share = run["step"] / run["steps"]  # less than one where a run was stopped early
        assert abs(row["times_kept"] - share * expected[row["run"]]) < 1
    assert told(finished, "--document", page["doc_id"])["tokens"] == place

    first = of(finished, "tokens/test.documents.parquet").query("offset == 0").iloc[0]["doc_id"]
    held_out = of(finished, "corpus/test.parquet").set_index("doc_id").loc[first]
    story = told(finished, "--url", held_out["url"])  # every sample begins with it
    assert story["split"] == "test" and set(story["evaluated"]["test"]) == set(runs.index)
    crawled = of(finished, "corpora/common_crawl.parquet").iloc[0]
    for words in (("--url", crawled["url"]), ("--document", crawled["doc_id"])):
        story = told(finished, *words)
        assert story["corpora"][0]["doc_id"] == crawled["doc_id"] and story["submissions"] == []
        assert set(story["evaluated"]["common_crawl"]) == set(runs.index)
        assert story["ends"] == "It is in another corpus alone."
    poor = of(finished, "corpora/common_crawl.rejected.parquet").iloc[0]
    story = told(finished, "--url", poor["url"])
    assert story["corpora"][0]["rejected"] == poor["reason"] and story["evaluated"] == {}
    assert story["ends"] == "It is a page of another corpus, whose text was rejected."
    book = of(finished, "corpora/books.parquet").iloc[0]["doc_id"]
    words = ("trace", "--document", book, "--results", RESULTS)
    assert "books, whose documents have no address" in refused(finished, *words)

    pairs = of(finished, "corpus/duplicates.parquet")
    documents = of(finished, "documents/*[0-9].parquet").set_index("doc_id")
    near = pairs[pairs["kind"] == "near"].iloc[0]
    story = told(finished, "--url", documents.loc[[near["doc_id"]]].iloc[0]["url"])
    assert story["duplicate"]["of"] == near["kept_doc_id"] and story["split"] is None
    assert "dropped as a near duplicate" in story["ends"]

    rejected = of(finished, "documents/*.rejected.parquet").iloc[0]
    story = told(finished, "--url", rejected["url"])
    assert story["rejected"] == rejected["reason"] and rejected["reason"] in story["ends"]

    for outcome, detail in (("http_error", "HTTP 404"), ("robots", "")):
        failed = crawl[
            (crawl["outcome"] == outcome) & crawl["detail"].fillna("").str.contains(detail)
        ]
        story = told(finished, "--url", failed.iloc[0]["url"])
        assert story["fetch"]["outcome"] == outcome and outcome in story["ends"]
        assert story["document"] is None and story["runs"] == []

    poor = of(finished, "links/rejected.parquet").query("reason == 'score'").iloc[0]
    story = told(finished, "--url", poor["url"])
    assert "score" in story["ends"]
    named = {row["submission"]: row for row in story["submissions"]}
    assert len(named) == len(story["submissions"])  # each once, taken first and then rejected
    assert named[poor["submission"]]["rejected"] == "score"
    assert named[poor["submission"]]["dump"] and named[poor["submission"]]["score"] < 3

    moved = crawl[crawl["final_url"].notna() & (crawl["final_url"] != crawl["url"])]
    link = moved[moved["outcome"] == "ok"].iloc[0]
    story = told(finished, "--url", link["final_url"])
    assert story["asked_for"] == link["final_url"] and story["url"] == link["url"]
    chain = told(finished, "--url", "http://faults.example/story.html")
    led = moved[moved["final_url"] == "http://faults.example/story.html"]["url"]
    assert {chain["url"], *chain["redirected_here"]} == set(led) and len(led) > 1
    assert story["document"] == told(finished, "--url", link["url"])["document"] is not None
    for name in documents[documents["url"] == "http://faults.example/story.html"].index:
        assert told(finished, "--document", name)["document"]["doc_id"] == name
    scaling_laws(
        finished, "trace", "--url", "http://nowhere.example/", "--results", RESULTS, code=2
    )


def test_runs_were_evaluated_on_the_documents_that_their_samples_have(finished):
    graph = Graph(finished / RESULTS)
    counts = of(finished, "tables/evaluations.parquet").set_index(["corpus", "run"])["documents"]

    def counted(corpus):
        file = finished / RESULTS / f"tokens/{corpus}.bin"
        there = of(finished, f"tokens/{corpus}.documents.parquet")
        on = Counter(
            name for row in there.itertuples() for name in evaluated_on(graph, file, row.offset)
        )
        return pd.Series(on), counts[corpus].groupby("run").first(), len(there)

    for corpus in ("books", "wikipedia"):
        on, documents, _ = counted(corpus)
        assert on.to_dict() == documents.to_dict()
    on, documents, there = counted("test")
    # Some were tested on more tokens while they trained.
    more, sampled = on.sub(documents).loc[lambda more: more != 0], CONFIG["evaluation"]["tokens"]
    assert set(more.index) == {run for run in on.index if tokens_tested(finished, run) > sampled}
    assert len(more) > 0 and (more > 0).all() and documents.min() < there


def tokens_tested(finished, run):
    """Return on how many tokens a run was tested while it trained."""
    facts = json.loads((finished / RESULTS / f"runs/{run}/run.json").read_text())
    return facts["spec"]["test_tokens"]


def test_a_story_says_no_more_than_the_manifests_that_are_left(copy):
    page = of(copy, "corpus/train.parquet").query("url.str.contains('rte.ie')").iloc[0]
    endings = {
        "tokens/lineage/train.json": "It is in the train split; no manifest tells of its tokens.",
        "crawl/lineage/0.json": "It is in the train split; no manifest tells of its tokens.",
        "corpus/lineage/split.json": "It is a document; no manifest tells of its split.",
        "documents/lineage/0.json": "It is a link; no manifest tells of its crawl.",
    }
    for manifest, end in endings.items():
        (copy / RESULTS / manifest).unlink()
        story = told(copy, "--url", page["url"])
        assert story["ends"] == end and "This may not be all" in story["not_whole"]


def test_verify_finds_each_fault_and_only_it_wherever_the_results_are(finished, copy):
    assert findings(finished, code=0) == set()
    results = copy / RESULTS
    tokens = results / "tokens/test.bin"
    content = bytearray(tokens.read_bytes())
    content[100] ^= 1
    tokens.write_bytes(content)
    fit = results / "fits/L_N.json"
    fit.write_text(fit.read_text().replace("alpha_N", "alpha_M"))
    (results / "figures/fig02.png").unlink()
    source = copy / "src/scaling_laws/figures/fig03.py"
    source.write_text(source.read_text() + "\n# an edit\n")
    expected = {
        ("changed", "tokens/test.bin"),
        ("changed", "fits/L_N.json"),
        ("missing", "figures/fig02.png"),
        *(("code", f"figures/fig03.{end}") for end in ("svg", "png", "csv", "json")),
    }
    assert findings(copy) == expected
    shutil.rmtree(copy / ".snakemake")
    (copy / "elsewhere").mkdir()
    shutil.move(results, copy / "elsewhere/moved")
    assert {
        (kind, path.removeprefix("moved/")) for kind, path in findings(copy, "elsewhere/moved")
    } == expected


def test_what_verify_says_of_lost_files_makes_them_anew(copy):
    lost, manifest = f"{RESULTS}/fits/L_N.json", f"{RESULTS}/tables/lineage/held_out.json"
    (copy / lost).unlink()
    (copy / manifest).write_text("{}")
    said = scaling_laws(copy, "verify", RESULTS, code=1)
    assert "Missing; `snakemake --cores all FILE` makes them anew" in said
    assert "remove them, and `snakemake --cores all FILE` runs their jobs again" in said
    (copy / manifest).unlink()
    assert not planned_rules(copy)  # it does not go back behind what is there
    assert planned_rules(copy, lost, manifest) == {"fit": 1, "held_out": 1}


def test_an_edited_list_of_domains_is_read_again(copy):
    media = copy / "src/scaling_laws/corpus/links/media.txt"
    media.write_text(media.read_text() + "media.example\n")
    assert ("source", str(media.relative_to(copy))) in findings(copy)
    assert planned_rules(copy)["links"] == 2


def test_verify_explains_as_snakemake_would(copy):
    config = ("--configfile", "config/ci.yaml")
    fit = f"{RESULTS}/fits/L_N.json"
    said = scaling_laws(copy, "verify", "--explain", fit, *config)
    assert "would not make it anew" in said and "not what its job wrote" not in said
    (copy / fit).write_text("{}")
    said = scaling_laws(copy, "verify", "--explain", fit, *config)
    command = f"snakemake --cores all --configfile config/ci.yaml -- {fit}"
    assert "would not make it anew" in said and f"remove it, and `{command}` makes it" in said
    # So of what is made from it, and of the file by its whole name.
    for name in (f"{RESULTS}/report.html", copy / fit):
        said = scaling_laws(copy, "verify", "--explain", name, *config)
        assert f"{fit}: not what its job wrote" in said and command in said
    (copy / fit).unlink()
    said = scaling_laws(copy, "verify", "--explain", fit, *config)
    assert "Fit L_N: Missing output files" in said
    said = json.loads(scaling_laws(copy, "verify", "--explain", fit, *config, "--as-json"))
    assert said["changed"] is None and "Fit L_N: Missing" in said["reasons"][0]
    scaling_laws(copy, "verify", "--explain", "nothing.txt", *config, code=2)


@pytest.mark.parametrize("name", ["crawl", "encode", "train", "figure"])
def test_a_job_tells_how_it_ran(finished, name):
    jobs = told(finished, f"{RESULTS}/report.html")["jobs"]
    job = next(job for job in jobs if job["rule"] == name)
    assert job["peak_memory"] > 20e6 and job["started"] <= job["ended"]
    assert job["call"].startswith(f"scaling-laws {job['command']} ")
    assert job["packages"]["python"] and job["host"]["processor"]
    assert ("torch" in job["packages"]) == (name == "train")


def entities(results, *kinds):
    """Return the entities of some types of a crate."""
    graph = json.loads((results / "ro-crate-metadata.json").read_text())["@graph"]
    return [entity for entity in graph if set(kinds) & set(np.atleast_1d(entity["@type"]))]


def faults(validator, crate):
    """Return what a validator finds wrong with a crate."""
    done = subprocess.run(
        [validator, Path(__file__).with_name("validate_crate.py"), crate],
        capture_output=True,
        text=True,
    )
    assert done.returncode == bool(done.stdout), done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def validator(tmp_path):
    """The Python of an environment of its own: the validator wants an older rich than we do."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "validator"], check=True)
    python = tmp_path / "validator/bin/python"
    packages = ("roc-validator==0.13.0", "rocrate==0.13.0")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def test_the_crate_is_whole_and_valid_wherever_it_is(copy, validator, tmp_path):
    snakemake(copy, "crate")
    crate = tmp_path / "crate"
    shutil.move(copy / RESULTS, crate)
    shutil.rmtree(copy)
    files = entities(crate, "File")
    for file in files:
        content = (crate / unquote(file["@id"])).read_bytes()
        assert file["contentSize"] == str(len(content))
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    names = {unquote(file["@id"]) for file in files}
    assert {"report.html", "lineage/workflow/Snakefile", "lineage/workflow/pyproject.toml"} <= names
    manifests = sorted(crate.rglob("lineage/*.json"))
    assert {str(path.relative_to(crate)) for path in manifests} <= names
    jobs = [each for each in entities(crate, "CreateAction") if each["@id"] != "#run"]
    assert len(jobs) == len(manifests) + 1  # the manifest of the download is not among the results
    assert len(entities(crate, "ControlAction")) == len(jobs)
    assert faults(validator, crate) == ""
    metadata = crate / "ro-crate-metadata.json"
    metadata.write_text(metadata.read_text().replace('"instrument"', '"instruments"'))
    assert "instrument" in faults(validator, crate)


def test_no_crate_is_made_of_what_is_not_as_it_was_written(copy):
    fit = copy / RESULTS / "fits/L_N.json"
    content = fit.read_text()
    os.utime(fit)
    scaling_laws(copy, "crate", RESULTS)
    assert findings(copy, code=0) == set()
    fit.write_text(content.replace("alpha_N", "alpha_M"))
    scaling_laws(copy, "crate", RESULTS, code=2)
    fit.unlink()
    scaling_laws(copy, "crate", RESULTS, code=2)
    fit.write_text(content)
    os.utime(fit)
    scaling_laws(copy, "crate", RESULTS)
    time = fit.stat().st_mtime_ns
    fit.write_text(content.replace("alpha_N", "alpha_M"))
    os.utime(fit, ns=(time, time))  # as disks and careless copies may leave it
    scaling_laws(copy, "crate", RESULTS, code=2)


def decoded(folder):
    """Return the texts of all token files."""
    tokens = folder / RESULTS / "tokens"
    tokenizer = Tokenizer.from_file(str(tokens / "tokenizer.json"))
    return {
        path.stem: tokenizer.decode(np.fromfile(path, "<u2"), skip_special_tokens=False)
        for path in tokens.glob("*.bin")
    }


def records(path):
    """Return the content of a WARC file, compressed record by record."""
    data, whole = path.read_bytes(), b""
    while data:
        member = zlib.decompressobj(31)
        whole += member.decompress(data)
        data = member.unused_data
    return whole


def test_a_forgotten_domain_is_in_no_token_file_and_what_does_not_depend_on_it_stays(copy):
    results, theirs = copy / RESULTS, "//www.rte.ie/"
    pages = of(copy, "documents/*[0-9].parquet")
    elsewhere = "\n".join(pages["text"][~pages["url"].str.contains(theirs)])
    lines = {
        line
        for text in of(copy, "corpus/t*.parquet").query("url.str.contains(@theirs)")["text"]
        for line in text.split("\n")
        if len(line) > 80 and line not in elsewhere
    }
    before = "".join(decoded(copy).values())
    assert len(lines) > 100 and all(line in before for line in lines)
    crawled, rows = of(copy, "crawl/[01].parquet"), of(copy, "links/links.parquet")
    manifests = {path: path.read_bytes() for path in results.rglob("lineage/*.json")}
    os.utime(results / "sample/site.parquet")  # as in a copy: the shard is not crawled anew

    said = json.loads(scaling_laws(copy, "forget", "--domain", "rte.ie", RESULTS, "--as-json"))
    assert said["added"] == ["rte.ie"] and said["list"] == "forgotten.txt"
    assert said["links"] == rows["url"].str.contains(theirs).sum() > 50
    assert len(said["documents"]) == pages["url"].str.contains(theirs).sum() > 50
    assert any("syndicate.example" in row["url"] for row in said["copies"])
    assert set(planned_rules(copy)) == set(said["rebuild"]) >= {"train", "report"}
    (copy / ".snakemake").rename(copy / "records")  # without which the answer is the same
    assert set(planned_rules(copy)) == set(said["rebuild"])
    shutil.rmtree(copy / ".snakemake")
    (copy / "records").rename(copy / ".snakemake")
    snakemake(copy, "--", "tokens")

    ran = [path for path, content in manifests.items() if path.read_bytes() != content]
    names = {str(path.relative_to(results)) for path in ran}
    of_shards = ("links/shards", "crawl", "documents", "dedup/signatures")
    assert {name for name in names if name.startswith(of_shards)} == {
        f"{folder}/lineage/0.json" for folder in of_shards
    }
    rules = {json.loads(path.read_text())["rule"] for path in ran}
    assert {"split", "evaluation_corpus", "tokenizer", "encode"} < rules < set(said["rebuild"])
    assert not {"sample", "links"} & rules

    after = decoded(copy)
    assert {name: [line for line in lines if line in text] for name, text in after.items()} == {
        path.stem: [] for path in (results / "tokens").glob("*.bin")
    }
    assert "//syndicate.example/" in "".join(of(copy, "corpus/train.parquet")["url"])
    warcs = [path for path in (results / "crawl").iterdir() if path.suffix in (".gz", ".warc")]
    assert len(warcs) == 6  # of each shard the outcome, and what a later crawl goes on from
    assert not any(theirs.encode() in records(path) for path in warcs)
    fetched = crawled[(crawled["outcome"] == "ok") & ~crawled["url"].str.contains(theirs)]
    again = of(copy, "crawl/[01].parquet").query("outcome == 'ok'")
    one, other = (table.reset_index(drop=True) for table in (fetched, again))
    pd.testing.assert_frame_equal(one, other)  # when each was fetched is a column
    reasons = of(copy, "links/shards/*.rejected.parquet").query("url.str.contains(@theirs)")
    assert "forgotten" in set(reasons["reason"])

    # The runs and what follows are still to be made, as both know.
    said = json.loads(scaling_laws(copy, "forget", "--domain", "rte.ie", RESULTS, "--as-json"))
    assert said["added"] == [] and said["links"] == len(said["documents"]) == 0
    assert set(planned_rules(copy)) == set(said["rebuild"]) >= {"train", "outcomes", "report"}
    assert not {"crawl", "encode"} & set(said["rebuild"])
    assert not {path for kind, path in findings(copy) if "forgotten" in (kind, path.split(".")[0])}

    (copy / "forgotten.txt").write_text("# asked on Monday\nhttps://nobody.example/1 # later\n")
    assert planned_rules(copy, "tokens")["merge_links"] >= 1
    (copy / "forgotten.txt").write_text("# asked on Monday\nRTE.ie\n")
    assert not planned_rules(copy, "tokens")
