"""What is forgotten: the list, what each stage does with it, and what `forget` tells."""

import fcntl
import json
import random
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shell import run

from scaling_laws import cli
from scaling_laws.corpus.crawl.warc import page_record
from scaling_laws.corpus.forgotten import Forgotten, domain_entry
from scaling_laws.corpus.links.links import SUBMISSIONS, merge_links
from scaling_laws.corpus.links.urls import hostname, identity, normalise, shard_of, url_id
from scaling_laws.corpus.text.sources import corpus
from scaling_laws.errors import InputError
from scaling_laws.lineage.forget import traces
from scaling_laws.lineage.graph import Graph
from scaling_laws.tables import stream_table

NAMES = ["harbour", "winter", "council", "river", "school", "market", "bridge", "festival"]
NOW = datetime(2018, 3, 1, tzinfo=UTC)


def listed(folder, text):
    path = folder / "forgotten.txt"
    path.write_text(text)
    return path


# The list


@pytest.mark.parametrize(
    ("entry", "out", "kept"),
    [
        (
            "example.com",
            [
                "http://example.com/",
                "https://www.example.com/a?b=c#d",
                "http://m.example.com/a",
                "http://deep.news.example.com:8080/",
                "HTTP://EXAMPLE.COM/a",
                "https://www.google.com/amp/s/example.com/a",
            ],
            ["http://notexample.com/", "http://example.com.evil.org/", "http://a.org/example.com"],
        ),
        ("news.example.com", ["http://news.example.com/a"], ["http://example.com/a"]),
        ("www.example.com", ["http://example.com/a"], ["http://example.org/a"]),
        ("BÜCHER.example", ["http://xn--bcher-kva.example/", "http://bücher.example/"], []),
        (
            "https://www.example.com/a?utm_source=x&b=1&a=2#top",
            ["http://example.com/a?a=2&b=1", "https://m.example.com/a?b=1&a=2"],
            ["http://example.com/a", "http://example.com/a?a=2&b=2", "http://x.example.com/a?a=2"],
        ),
    ],
)
def test_a_page_is_left_out_in_all_its_spellings_and_a_domain_with_all_its_hosts(
    tmp_path, entry, out, kept
):
    found = Forgotten.read(listed(tmp_path, f"# a letter\n\n  {entry}  # of Monday\n"))
    assert [url for url in out if url not in found] == []
    assert [url for url in kept if url in found] == []
    named = [identity(normalise(url)) for url in [*out, *kept]]
    assert found.among(named).tolist() == [True] * len(out) + [False] * len(kept)


def test_where_there_is_no_list_nothing_is_left_out(tmp_path):
    assert "http://example.com/" not in Forgotten.read(tmp_path / "none.txt")
    assert not Forgotten.read(None) and not Forgotten.read(listed(tmp_path, "# none\n"))
    found = Forgotten.read(listed(tmp_path, "example.com"))
    assert [text in found for text in ("", "books.jsonl:3", "dns:example.com")] == [False] * 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("example", "found 'example', expected a domain such as example.com"),
        ("example.com/page", "expected a domain such as example.com, or a URL with its https://"),
        ("ftp://example.com/", "found 'ftp://example.com/', expected a URL such as https://"),
        ("co.uk", "found 'co.uk', under which anyone may have a domain"),
        ("exa mple.com", "found 'exa mple.com', expected a domain"),
        ("\ud800", "can't decode"),
    ],
)
def test_a_line_that_is_neither_url_nor_domain_is_named(tmp_path, line, said):
    path = tmp_path / "forgotten.txt"
    path.write_bytes(b"example.com\n\n" + line.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError) as error:
        Forgotten.read(path)
    assert str(error.value).startswith(f"{path}:3: ") and said in str(error.value)


def test_a_list_that_is_a_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}: Is a directory"):
        Forgotten.read(tmp_path)


def test_each_entry_concerns_the_one_shard_that_has_its_pages(tmp_path):
    entries = ["a.example", "news.b.example", "http://c.example/x", "https://www.d.co.uk/y"]
    found = Forgotten.read(listed(tmp_path, "\n".join(entries)))
    by_shard = [found.of_shard(shard, 4) for shard in range(4)]
    assert sorted(chain(*by_shard)) == found.entries and len(found.entries) == 4
    for url in ("http://www.a.example/", "http://x.news.b.example/", "http://c.example/x"):
        page = identity(normalise(url))
        (entry,) = [e for e in by_shard[shard_of(hostname(page), 4)] if page in Forgotten([e])]
        assert entry
    again = listed(tmp_path, "# in another order\n" + "\n".join(entries[::-1]))
    assert [Forgotten.read(again).of_shard(shard, 4) for shard in range(4)] == by_shard


# What the stages do with it


def submissions(path, urls, score=10):
    with stream_table(path, SUBMISSIONS) as table:
        for number, url in enumerate(urls):
            page = identity(normalise(url))
            table.append((f"p{number}", url, page, score, "news", 1_510_000_000 + number, 0))
    return path


def test_links_are_rejected_as_forgotten(tmp_path):
    urls = ["http://a.example/1", "https://www.gone.example/2", "http://x.gone.example/3"]
    found = {}
    for name, score in (("many", 10), ("few", 1)):
        statistics = merge_links(
            [submissions(tmp_path / f"{name}.parquet", urls, score)],
            output=tmp_path / "links.parquet",
            rejected=tmp_path / "rejected.parquet",
            shard=0,
            forgotten=listed(tmp_path, "gone.example"),
        )
        rejected = pd.read_parquet(tmp_path / "rejected.parquet")
        found[name] = list(zip(rejected["submission"], rejected["reason"], strict=True))
        assert statistics["links"] + len(rejected) == 3
        assert sum(statistics["rejected"].values()) == len(rejected)
        if name == "many":
            assert pd.read_parquet(tmp_path / "links.parquet")["url"].tolist() == urls[:1]
    assert found["many"] == [("p1", "forgotten"), ("p2", "forgotten")]
    assert {reason for _, reason in found["few"]} == {"score"}  # they were none before


def text_of(seed):
    """Return English of 120 words that is like no other seed's."""
    chance = random.Random(seed)
    return " ".join(
        f"The {chance.choice(NAMES)} of the {chance.choice(NAMES)} was {chance.choice(NAMES)} "
        f"number {chance.randrange(10**6)} and it has been there."
        for _ in range(10)
    )


def page(text):
    body = f"<p>{text}</p>"
    return f"<html><head><title>News</title></head><body><article>{body}</article></body></html>"


def write_warc(path, pages):
    """Write pages: name, address and text of each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    headers = [("Content-Type", "text/html; charset=utf-8")]
    records = [
        page_record(url_id(identity(normalise(link))), url, NOW, "OK", headers, page(text).encode())
        for link, url, text in pages
    ]
    path.write_bytes(b"".join(records))
    return path


def write_wet(path, pages):
    records = []
    for _, url, text in pages:
        content = text.encode()
        head = f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: {url}\r\n"
        head += f"Content-Type: text/plain\r\nContent-Length: {len(content)}\r\n\r\n"
        records.append(head.encode() + content + b"\r\n\r\n")
    path.write_bytes(b"".join(records))
    return path


@pytest.mark.parametrize("format", ["warc", "wet"])
def test_records_of_other_corpora_are_skipped_and_counted(tmp_path, format):
    urls = ["http://a.example/1", "http://www.gone.example/2", "http://b.example/3"]
    pages = [(url, url, text_of(number)) for number, url in enumerate(urls)]
    write = {"warc": write_warc, "wet": write_wet}[format]
    pd.DataFrame({"text": ["nothing of the kind"]}).to_parquet(tmp_path / "train.parquet")
    statistics = corpus(
        "crawl",
        source=write(tmp_path / f"pages.{format}", pages),
        format=format,
        train=tmp_path / "train.parquet",
        output=tmp_path / "kept.parquet",
        rejected=tmp_path / "rejected.parquet",
        forgotten=listed(tmp_path, "gone.example\nhttp://b.example/4"),
    )
    kept = pd.read_parquet(tmp_path / "kept.parquet")
    assert kept["url"].tolist() == [urls[0], urls[2]]
    assert statistics["dropped"] == {"forgotten": 1}
    rejected = pd.read_parquet(tmp_path / "rejected.parquet")
    assert rejected[["url", "reason"]].to_numpy().tolist() == [[urls[1], "forgotten"]]


# The command


PAGES = [  # link, where it ended, text
    ("http://a.example/1", "http://a.example/1", text_of(1)),
    ("http://gone.example/2", "http://www.gone.example/2", text_of(2)),
    ("http://gone.example/3", "http://gone.example/3", text_of(3)),
    ("http://a.example/copy", "http://a.example/copy", text_of(2)),
    ("http://short.example/x", "http://gone.example/4", text_of(4)),
    *((f"http://b.example/{n}", f"http://b.example/{n}", text_of(n)) for n in range(10, 20)),
]


def make():
    """Give the commands from links to the split, each with a manifest, as the workflow does."""

    def give(command, *words, to):
        folder, name = to.split("/") if "/" in to else ("", to)
        lineage = Path("results", folder, "lineage", f"{name}.json")
        run(command, *words, "--lineage", lineage, "--rule", command.replace("-", "_"))

    r = Path("results")
    table, links = submissions(Path("dump.parquet"), [link for link, _, _ in PAGES]), r / "links"
    give("merge-links", table, "--shard", 0, "--output", links / "0.parquet",
         "--rejected", links / "0.rejected.parquet", "--forgotten", "forgotten.txt",
         to="links/0")  # fmt: skip
    give("index-archive", "pages.warc.gz", "--output", "index.parquet", to="index")
    give("crawl", links / "0.parquet", "--warc", r / "crawl/0.warc.gz", "--user-agent", "bot/1",
         "--outcomes", r / "crawl/0.parquet", "--archives", "index.parquet", "--retries", 0,
         "--contact", "me@university.edu", "--proxy", "http://127.0.0.1:9",  # nobody's
         "--forgotten", "forgotten.txt", to="crawl/0")  # fmt: skip
    give("extract", r / "crawl/0.warc.gz", "--output", r / "documents/0.parquet",
         "--rejected", r / "documents/0.rejected.parquet", to="documents/0")  # fmt: skip
    give("signatures", r / "documents/0.parquet", "--links", links / "0.parquet",
         "--output", r / "dedup/s.parquet", to="dedup/s")  # fmt: skip
    give("buckets", r / "dedup/s.parquet", "--part", 0, "--parts", 1,
         "--output", r / "dedup/p.parquet", to="dedup/p")  # fmt: skip
    give("clusters", r / "documents/0.parquet", "--signatures", r / "dedup/s.parquet",
         "--pairs", r / "dedup/p.parquet", "--output", r / "dedup/kept.parquet",
         "--duplicates", r / "dedup/duplicates.parquet", "--test-fraction", 0.3,
         to="dedup/kept")  # fmt: skip
    give("dedup", r / "documents/0.parquet", "--kept", r / "dedup/kept.parquet",
         "--output", r / "corpus/documents.parquet", to="corpus/dedup")  # fmt: skip
    give("split", r / "corpus/documents.parquet", "--train", r / "corpus/train.parquet",
         "--test", r / "corpus/test.parquet", "--leaks", r / "corpus/leaks.parquet",
         "--report", r / "corpus/split.json", to="corpus/split")  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Results up to the split, of pages that an archive holds."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("Snakefile").touch()
        write_warc(Path("pages.warc.gz"), PAGES)
        make()
    return folder


@pytest.fixture
def made(project, tmp_path, monkeypatch):
    """A copy of them that a test may change."""
    monkeypatch.chdir(shutil.copytree(project, tmp_path / "project"))
    return Path("results")


def told(capsys, *words):
    capsys.readouterr()
    run("forget", *words, "--as-json")
    return json.loads(capsys.readouterr().out)


def texts():
    return set(pd.concat(map(pd.read_parquet, Path("results/corpus").glob("t*.parquet")))["text"])


def test_a_domain_is_listed_with_what_redirects_there_and_is_gone_when_rebuilt(made, capsys):
    found = told(capsys, "--domain", "www.gone.example")
    assert found["added"] == ["gone.example", "http://short.example/x"]
    assert found["list"] == "forgotten.txt"
    assert found["links"] == 2 and found["outcomes"] == {"ok": 3}
    assert found["redirects"] == [
        {"url": "http://short.example/x", "final_url": "http://gone.example/4"}
    ]
    assert len(found["documents"]) == 3
    assert {row["part"] for row in found["documents"]} <= {"train", "test", "duplicate"}
    (copy,) = found["copies"]
    assert (copy["url"], copy["kind"]) == ("http://a.example/copy", "exact")
    assert set(found["rebuild"]) == {
        *("merge_links", "crawl", "extract", "signatures", "buckets", "clusters", "dedup", "split")
    }
    assert set(chain(*found["rebuild"].values())) >= {
        "results/links/0.parquet", "results/crawl/0.warc.gz", "results/corpus/train.parquet"
    }  # fmt: skip
    again = told(capsys, "--domain", "gone.example")
    assert again == found | {"added": [], "covered_by": "gone.example"}
    assert Path("forgotten.txt").read_text() == "gone.example\nhttp://short.example/x\n"

    assert {text_of(3), text_of(4)} <= texts()
    make()
    assert texts() == {text_of(n) for n in (1, 2, *range(10, 20))}  # the copy elsewhere stays
    hidden = [path for path in (made / "crawl").iterdir() if path.is_file()]
    assert len(hidden) >= 4
    capsys.readouterr()
    run("forget", "--domain", "gone.example")
    said = capsys.readouterr().out
    assert "gone.example is in forgotten.txt already" in said
    assert "results has nothing of it" in said and "Nothing has to be rebuilt" in said
    run("forget", "--domain", "other.example")  # a longer list outdates no job
    capsys.readouterr()
    run("verify")
    assert "all as it was written" in capsys.readouterr().out
    run("trace", "--url", "http://gone.example/3")
    assert "It was not crawled: forgotten." in capsys.readouterr().out


def test_a_page_is_listed_alone_and_the_list_keeps_what_it_has(made, capsys):
    listed(Path(), "# letters\nother.example # of Monday")
    found = told(capsys, "--url", "https://www.gone.example/2#top")
    assert found["added"] == ["http://gone.example/2"] and found["links"] == 1
    assert [row["url"] for row in found["copies"]] == ["http://a.example/copy"]
    assert Path("forgotten.txt").read_text() == (
        "# letters\nother.example # of Monday\nhttp://gone.example/2\n"
    )
    capsys.readouterr()
    run("forget", "--url", "http://x.other.example/", "--list", "forgotten.txt")
    assert "is in forgotten.txt already, by other.example" in capsys.readouterr().out


def test_the_report_is_said_in_lines(made, capsys):
    run("forget", "--domain", "gone.example")
    said = capsys.readouterr().out
    assert said.startswith("gone.example added to forgotten.txt\n")
    assert "links: 2; crawled: ok 3" in said and "documents: 3 (" in said
    assert "links elsewhere that lead there, which are added, too: 1\n" in said
    assert "http://short.example/x to http://gone.example/4" in said
    assert "http://a.example/copy (exact, 1.00)" in said
    assert "15 files: merge_links 2, crawl 2, " in said and "extract 2" in said


def test_of_a_list_that_the_workflow_does_not_read_that_is_said(made, capsys):
    run("forget", "--domain", "gone.example", "--list", "mine.txt")
    said = capsys.readouterr().out
    assert said.startswith("gone.example added to mine.txt\n")
    assert "The workflow reads forgotten.txt, not this list" in said and "rebuilt" not in said
    assert Path("mine.txt").exists() and not Path("forgotten.txt").exists()
    run("forget", "--domain", "gone.example", "--list", "none/mine.txt", code=2)
    assert "--list none/mine.txt: no such folder as none" in capsys.readouterr().err
    assert not Path("none").exists()


def test_of_a_source_that_was_never_crawled_that_is_said(made, capsys):
    run("forget", "--domain", "nowhere.example")
    said = capsys.readouterr().out
    assert "nowhere.example added to forgotten.txt" in said
    assert "results has nothing of it" in said and "snakemake --touch" in said
    assert "merge_links 2, crawl 2" in said  # which Snakemake makes anew for the new entry
    run("forget", "--domain", "gone.example")
    run("forget", "--domain", "elsewhere.example")
    # All files called good, the text of gone.example would stay.
    assert "snakemake --touch" not in capsys.readouterr().out


def test_a_rebuild_that_was_interrupted_is_not_taken_for_a_whole_one(made, capsys):
    run("forget", "--domain", "gone.example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "COMMANDS", {**cli.COMMANDS, "extract": ("nowhere", "extract", "")})
        with pytest.raises(ModuleNotFoundError):
            make()
    found = told(capsys, "--domain", "gone.example")
    assert found["links"] == 0 and found["outcomes"] == {} and len(found["documents"]) == 3
    assert set(found["rebuild"]) == {
        *("extract", "signatures", "buckets", "clusters", "dedup", "split")
    }


def test_a_list_that_another_process_changes_is_waited_for(tmp_path):
    path = tmp_path / "forgotten.txt"
    path.write_text("a.example\n")
    command = (
        "import sys; from pathlib import Path; from scaling_laws.lineage.forget import append\n"
        "print('ready', flush=True); append(Path(sys.argv[1]), ['b.example', 'c.example'])"
    )
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        other = subprocess.Popen(
            [sys.executable, "-c", command, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert other.stdout.readline() == "ready\n"
        time.sleep(0.5)
        assert other.poll() is None and path.read_text() == "a.example\n"
        new = tmp_path / "new"
        new.write_text("a.example\nb.example\n")
        new.replace(path)
    assert other.wait() == 0
    assert path.read_text() == "a.example\nb.example\nc.example\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_spelling_without_the_host_is_found(made, capsys):
    source = Forgotten([domain_entry("en.m.wiki.example")])
    assert source.entries == ["en.wiki.example"]
    table = pa.table({"url_id": ["1"], "url": ["http://en.m.wiki.example/a"], "doc_id": ["d"]})
    pq.write_table(table, made / "documents/0.parquet")
    found = traces(Graph(made), "en.wiki.example")
    assert [row["url"] for row in found["documents"]] == ["http://en.m.wiki.example/a"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "expected one of --url and --domain"),
        (["--url", "http://a.example/", "--domain", "a.example"], "expected one of"),
        (["--domain", "co.uk"], "--domain: found 'co.uk'"),
        (["--domain", "https://a.example"], "expected a domain; --url leaves out a page"),
        (["--url", "a.example"], "--url: found 'a.example', expected a URL"),
        (["--domain", "a.example", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_what_cannot_be_is_refused_and_not_listed(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    run("forget", *words, code=2)
    assert said in capsys.readouterr().err
    assert not Path("forgotten.txt").exists()


def test_pages_that_a_list_edited_by_hand_has_left_are_found(made, capsys):
    (made / "config.yaml").write_text("links: {shards: 1}\n")
    Path("forgotten.txt").write_text("gone.example\n")
    make()
    assert "forgotten" not in kinds(capsys)
    Path("forgotten.txt").write_text("gone.example\na.example\n")
    assert kinds(capsys)["forgotten"] == [
        {
            "path": "results/crawl/0.parquet",
            "reason": "2 pages, such as http://a.example/1; `snakemake` makes it anew",
        }
    ]
    Path("results/crawl/0.parquet").write_bytes(b"PAR1 and no more")
    assert "changed" in kinds(capsys)


def test_what_was_left_out_and_is_no_longer_listed_is_found(made, capsys):
    (made / "config.yaml").write_text("links: {shards: 1}\n")
    run("forget", "--domain", "gone.example")
    make()
    settings = {row["reason"] for row in kinds(capsys)["config"]}
    Path("forgotten.txt").write_text("http://short.example/x\n")
    found = kinds(capsys)["config"]
    lacking = "without gone.example, which forgotten.txt does not name"
    assert [row["path"] for row in found if row["reason"] not in settings] == [
        "results/links/0.parquet",
        "results/links/0.rejected.parquet",
    ]
    assert {row["reason"] for row in found} == {*settings, lacking}
    Path("forgotten.txt").unlink()
    lacking = "without gone.example and 1 other, which forgotten.txt does not name"
    assert {row["reason"] for row in kinds(capsys)["config"]} == {*settings, lacking}


def test_without_a_workflow_near_the_list_has_to_be_named(made, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run("forget", "--domain", "gone.example", "project/results")
    assert "added to project/forgotten.txt" in capsys.readouterr().out
    shutil.move("project/results", "moved")
    run("forget", "--domain", "gone.example", "moved", code=2)
    assert "name that by --list" in capsys.readouterr().err
    run("forget", "--domain", "gone.example", "moved", "--list", "mine.txt")
    assert [path.name for path in tmp_path.glob("*.txt")] == ["mine.txt"]


def test_what_a_lost_manifest_may_hide_is_said(made, capsys):
    whole = told(capsys, "--domain", "gone.example")
    assert whole["not_whole"] is None
    manifest = made / "documents/lineage/0.json"
    content = manifest.read_text()
    manifest.write_text(content[:100])
    found = told(capsys, "--domain", "gone.example")
    assert "1 manifest cannot be read" in found["not_whole"]
    assert "made 2 files (results/documents/0.parquet)" in found["not_whole"]
    manifest.unlink()
    assert "made 2 files" in told(capsys, "--domain", "gone.example")["not_whole"]
    run("trace", "results/links/0.parquet", "--forward")
    assert "made 2 files" in capsys.readouterr().out
    run("trace", "results/corpus/train.parquet")
    assert "made 1 file (results/documents/0.parquet)" in capsys.readouterr().out


def test_a_page_is_known_by_where_its_redirects_ended(made, capsys):
    run("trace", "--url", "http://gone.example/4")
    said = capsys.readouterr().out
    assert said.startswith("http://short.example/x ")
    assert "it led to http://gone.example/4, which no submission named" in said
    assert "by redirects to http://gone.example/4" in said


def kinds(capsys):
    """Return what verify finds, by kind."""
    capsys.readouterr()
    run("verify", "--as-json", code=1)
    found = {}
    for each in json.loads(capsys.readouterr().out)["findings"]:
        found.setdefault(each.pop("kind"), []).append(each)
    return found


@pytest.mark.parametrize(
    "table",
    ["links/0.rejected.parquet", "links/0.parquet", "crawl/0.parquet", "corpus/train.parquet"],
)
@pytest.mark.parametrize("command", ["trace --url", "forget --url"])
def test_a_damaged_table_is_named_in_one_line(made, capsys, command, table):
    path = made / table
    content = path.read_bytes()
    page = "http://a.example/1"
    for damaged in (b"", content[: len(content) // 2], b"\0" * len(content)):
        path.write_bytes(damaged)
        capsys.readouterr()
        run(*command.split(), page, code=2)
        (line,) = [each for each in capsys.readouterr().err.splitlines() if "error" in each]
        assert f"{table}: not a" in line


def test_the_list_is_the_one_that_the_configuration_names(made, capsys):
    (made / "config.yaml").write_text("forgotten: letters.txt\n")
    assert told(capsys, "--domain", "gone.example")["list"] == "letters.txt"
    (made / "config.yaml").write_text("forgotten: [1]\n")
    run("forget", "--domain", "gone.example", code=2)
    assert "forgotten = [1]" in capsys.readouterr().err
