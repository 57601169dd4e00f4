"""`scaling-laws forget`: leave a page or a domain out, and tell what in the results comes of it."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from scaling_laws.config import Config, settings_of
from scaling_laws.corpus.forgotten import OUTCOME, Forgotten, domain_entry, host_of, page_entry
from scaling_laws.corpus.links.urls import shard_of
from scaling_laws.errors import InputError
from scaling_laws.ledger import place
from scaling_laws.lineage.graph import PAGE, Graph, Job, counted, whole
from scaling_laws.lineage.rows import pages, rows, rows_with, search, tables
from scaling_laws.lineage.stages import edges_of, layers_of, stages_of
from scaling_laws.output import atomic
from scaling_laws.text_files import WITH_ADDRESSES

SHOWN = 10  # of many addresses


def forget(
    results: Path = Path("results"),
    *,
    url: str | None = None,
    domain: str | None = None,
    list: Path | None = None,
    as_json: bool = False,
) -> None:
    """Leave a page or a domain out of all that Snakemake makes from now on, and say what depends.

    The exclusion goes to a list that the workflow reads. A page is named in any of its spellings; a
    domain stands for its pages and those of all hosts under it. Links that lead there by redirects
    are added, too. Told are the links, pages, documents and tokens that the results have of it,
    where the same text stays at other addresses, and which files have to be rebuilt. Snakemake does
    that when it is run again, all of them and no others; until then they are as they were.

    Args:
        results: Folder of the results.
        url: Address of the page.
        domain: The domain, such as example.com.
        list: Text file of the exclusions; absent for the one that the configuration of the results
            names (`forgotten`).
        as_json: Print JSON: all addresses, documents and files.

    Raises:
        InputError: When neither or both are named, one is no address or domain, there are no
            results, a table of them or the list cannot be read, or no Snakefile tells of a list.
    """
    if (url is None) == (domain is None):
        raise InputError("forget: expected one of --url and --domain")
    if "://" in (domain or ""):
        raise InputError(f"--domain: found {domain!r}, expected a domain; --url leaves out a page")
    try:
        entry = page_entry(url) if url is not None else domain_entry(domain or "")
    except ValueError as error:
        raise InputError(f"--{'domain' if url is None else 'url'}: {error}") from None
    graph = Graph(whole(results))
    config = settings_of(graph.results)
    read = list_of(graph, config or Config())
    listed = list or read
    if listed is None:
        raise InputError(
            f"{results}: no Snakefile here or above it, whose list of what is to be forgotten this "
            "would go to; name that by --list"
        )
    if not listed.parent.is_dir():
        raise InputError(f"--list {listed}: no such folder as {listed.parent}")
    before = Forgotten.read(listed)
    answer = {"entry": entry, "list": graph.shown(place(listed))} | traces(graph, entry)
    answer["covered_by"] = before.covering(entry)
    wanted = dict.fromkeys([entry, *(page_entry(row["url"]) for row in answer["redirects"])])
    shards = config.links.shards if config else None
    answer["rebuild"] = _files(graph, rebuilt(graph, wanted, shards))
    # Text that is still to go would stay if somebody then called all files good.
    others = [each for each in before.entries if each not in wanted]
    answer["pending"] = bool(rebuilt(graph, others, shards))
    answer["not_looked_for"] = [
        job.subject
        for job in _corpora(graph)
        if job.made.parameters["format"] not in WITH_ADDRESSES
    ]
    answer["not_whole"] = graph.gap(graph.hiding)
    answer["added"] = append(listed, wanted)
    unread = read is not None and place(read) != place(listed)
    answer["read_instead"] = graph.shown(place(read)) if read and unread else None
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    for line in tell(answer, graph.shown(graph.results)):
        console.print(line)


def list_of(graph: Graph, config: Config) -> Path | None:
    """Return the list that the workflow of some results reads; None where no Snakefile tells.

    Args:
        graph: The results.
        config: Their configuration.
    """
    if config.forgotten.is_absolute():
        return config.forgotten
    for folder in (Path(), *graph.results.parents):
        if (folder / "Snakefile").is_file():
            return folder / config.forgotten
    return None


def append(path: Path, entries: Iterable[str]) -> list[str]:
    """Add entries to a list that do not stand in it; it keeps what it has, comments included.

    Returns:
        Those that were added.

    Raises:
        InputError: The list cannot be read.
    """
    with _locked(path):
        before = Forgotten.read(path)
        new = [entry for entry in entries if not before.covers(entry)]
        if new:
            text = path.read_text(encoding="utf-8")
            text += "\n" if text and not text.endswith("\n") else ""
            with atomic(path, renews=True) as partial:
                partial.write_text(text + "".join(f"{entry}\n" for entry in new), encoding="utf-8")
    return new


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let no other process change a file during the block; make an empty one where is none."""
    if path.is_dir():
        raise InputError(f"{path}: found a folder, expected a text file of URLs and domains")
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Who had the lock before has put another file in its place.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield
                return


def traces(graph: Graph, entry: str) -> dict[str, Any]:
    """Return what the results have of a page or domain, and what depends on it.

    Args:
        graph: The results.
        entry: Canonical URL or domain.

    Returns:
        `links`, their number; `outcomes`, numbers of crawled links by outcome; `redirects`, links
        elsewhere that ended there, with `url` and `final_url`; `documents`, with `doc_id`, `url`
        and `part`: the split that it is in, or why it is in none; `tokens` in the token files;
        `copies`, documents elsewhere with the same text or nearly, with `doc_id`, `url`, `kind` and
        `jaccard`; `corpora`, numbers of documents by corpus; `rejected`, of pages that gave none.

    Raises:
        InputError: A table is missing or damaged.
    """
    source = Forgotten([entry])
    links = [*pages(graph, "merge-links", ("url", "canonical_url"), source)]
    fetched = [*pages(graph, "crawl", ("url_id", "url", "final_url", "outcome"), source)]
    names = {row["url_id"] for _, row in fetched if row["outcome"] == "ok"}
    # By link and by address, and in the splits as well: a rebuild may have been interrupted.
    columns = ("url_id", "url", "doc_id")
    documents = {
        row["doc_id"]: row["url"]
        for command in ("extract", "split")
        for row in (
            *rows_with(graph, command, "url_id", names, columns),
            *(row for _, row in pages(graph, command, columns, source)),
        )
    }
    parts = _parts(graph, documents)
    encoded = rows_with(graph, "encode", "doc_id", documents, ("doc_id", "tokens"))
    elsewhere = [*pages(graph, "corpus", ("url", "doc_id", "text"), source)]
    rejected = [*pages(graph, "corpus", ("url", "reason"), source)]
    return {
        "links": len(links),
        "outcomes": dict(Counter(row["outcome"] for _, row in fetched).most_common()),
        "redirects": [
            {"url": row["url"], "final_url": row["final_url"]}
            for _, row in fetched
            if row["outcome"] == "ok" and row["url"] not in source
        ],
        "documents": [
            {"doc_id": name, "url": address, "part": parts[name]}
            for name, address in documents.items()
        ],
        "tokens": sum(row["tokens"] for row in encoded),
        "copies": _copies(graph, documents),
        "corpora": dict(Counter(graph.maker[path].subject for path, _ in elsewhere)),
        "rejected": dict(Counter(graph.maker[path].subject for path, _ in rejected)),
    }


def pages_of(graph: Graph, source: Forgotten) -> Iterator[tuple[Path, str]]:
    """Yield the addresses of the pages of a source that crawls and other corpora hold.

    Args:
        graph: The results.
        source: What is to be left out.

    Yields:
        The table that has it, and the address.

    Raises:
        InputError: A table is missing or damaged.
    """
    for path, row in pages(graph, "crawl", ("url", "final_url", "outcome"), source):
        if row["outcome"] == "ok":
            yield path, row["final_url"]
    for path, row in pages(graph, "corpus", ("url", "text"), source):
        yield path, row["url"]


def rebuilt(graph: Graph, entries: Iterable[str], shards: int | None) -> list[Job]:
    """Return the jobs that Snakemake runs again once some entries are listed.

    They are those that an entry concerns and that ran without it, what an interrupted rebuild has
    left, and all that follows.

    Args:
        graph: The results.
        entries: Canonical URLs and domains.
        shards: Number of shards that the links are divided into; absent for as many as there are.
    """
    merges = [job for job in graph.jobs if job.made.command == "merge-links"]
    count = shards or 1 + max((job.made.parameters["shard"] for job in merges), default=0)
    pages = [job for job in _corpora(graph) if job.made.parameters["format"] in WITH_ADDRESSES]
    concerned, roots = [], []
    for entry in entries:
        shard = shard_of(host_of(entry), count)
        own = [job for job in merges if job.made.parameters["shard"] == shard]
        own += [job for job in graph.after(own) if job.made.command == "crawl"]
        concerned += [*own, *pages]
        roots += [job for job in (*own, *pages) if not left_out(job).covers(entry)]
    roots += [job for job in graph.downstream(concerned) if graph.outdated(job)]
    return graph.downstream(roots)


def left_out(job: Job) -> Forgotten:
    """Return what a job was told to leave out."""
    return Forgotten(job.made.statistics.get(OUTCOME, ()))


def _corpora(graph: Graph) -> list[Job]:
    return [job for job in graph.jobs if job.made.command == "corpus"]


def _parts(graph: Graph, documents: Iterable[str]) -> dict[str, str]:
    """Return for each document its split, or why it has none."""
    parts = dict.fromkeys(documents, "left out")
    for row in rows_with(graph, "clusters", "doc_id", parts, ("doc_id", "kept_doc_id")):
        parts[row["doc_id"]] = "duplicate"
    for path in tables(graph, "split", ("doc_id", "text")):
        for row in search(path, "doc_id", parts, ("doc_id",)):
            parts[row["doc_id"]] = path.stem
    return parts


def _copies(graph: Graph, documents: Container[str]) -> list[dict[str, Any]]:
    """Return the documents elsewhere that are exact or near duplicates of some."""
    found: dict[str, dict[str, Any]] = {}
    pairs = [*rows(graph, "clusters", ("doc_id", "kept_doc_id", "kind", "jaccard"))]
    kept = {row["kept_doc_id"] for row in pairs if row["doc_id"] in documents}
    for row in pairs:
        # What was kept in favour of one of them, and what was dropped in favour of the same.
        if row["kept_doc_id"] in kept or row["kept_doc_id"] in documents:
            for name in (row["doc_id"], row["kept_doc_id"]):
                found[name] = {"kind": row["kind"], "jaccard": row["jaccard"]}
    for row in rows(graph, "split", ("doc_id", "test_doc_id", "jaccard")):
        for one, other in (
            (row["doc_id"], row["test_doc_id"]),
            (row["test_doc_id"], row["doc_id"]),
        ):
            if one in documents:
                found[other] = {"kind": "near", "jaccard": row["jaccard"]}
    others = [name for name in found if name not in documents]
    return [
        {"doc_id": row["doc_id"], "url": row["url"]} | found[row["doc_id"]]
        for row in rows_with(graph, "extract", "doc_id", set(others), ("doc_id", "url"))
    ]


def _files(graph: Graph, jobs: Sequence[Job]) -> dict[str, list[str]]:
    """Return the files of some jobs by rule, in the order of the flow."""
    layers = layers_of(stages_of(graph), edges_of(graph))
    files: dict[str, list[str]] = {name: [] for layer in layers for name in layer}
    for job in jobs:
        own = [path for path in job.outputs if graph.maker[path] is job]
        files[job.name].extend(map(graph.shown, own))
    page = graph.results / PAGE
    if files.get("report") and page.exists():  # what shows the manifests follows without its own
        files["lineage"] = [graph.shown(page)]
    return {name: paths for name, paths in files.items() if paths}


def tell(answer: dict[str, Any], results: str) -> Iterator[str]:
    """Yield what `traces` found as people read it."""
    entry, listed = escape(answer["entry"]), escape(answer["list"])
    if answer["added"]:
        yield f"[bold]{entry}[/] added to {listed}"
    else:
        by = "" if answer["covered_by"] == entry else f", by {escape(answer['covered_by'])}"
        yield f"[bold]{entry}[/] is in {listed} already{by}"
    parts = ("links", "outcomes", "documents", "corpora", "rejected")
    known = any(answer[part] for part in parts)
    if known:
        yield from _tell_known(answer)
    else:
        yield (
            f"{escape(results)} has nothing of it: no link to it was crawled, and no document of "
            "another corpus is from there."
        )
    if answer["not_looked_for"]:
        names = escape(", ".join(answer["not_looked_for"]))
        yield f"Not looked for in {names}: their documents have no address"
    if answer["not_whole"]:
        yield f"[red]{escape(answer['not_whole'])}[/]"
    if answer["read_instead"]:
        yield (
            f"[red]The workflow reads {escape(answer['read_instead'])}, not this list:[/] it makes "
            "nothing anew for what stands here alone"
        )
        return
    files = {rule: len(paths) for rule, paths in answer["rebuild"].items()}
    if not files:
        yield "Nothing has to be rebuilt"
        return
    yield f"To be rebuilt by Snakemake, {counted(sum(files.values()), 'file')}: {_counts(files)}"
    if not (known or answer["pending"]):
        yield (
            "It cannot know that the entry changes nothing. Where `snakemake -n` had nothing to do "
            "before, `snakemake --touch` tells it that the files are good."
        )


def _tell_known(answer: dict[str, Any]) -> Iterator[str]:
    fetched = answer["outcomes"]
    yield f"  links: {answer['links']:,}; crawled: {_counts(fetched)}"
    parts = Counter(row["part"] for row in answer["documents"])
    yield (
        f"  documents: {len(answer['documents']):,} ({_counts(parts)}), {answer['tokens']:,} tokens"
    )
    if answer["corpora"]:
        yield f"  documents of other corpora: {_counts(answer['corpora'])}"
    if answer["rejected"]:
        yield f"  pages of other corpora, whose text was rejected: {_counts(answer['rejected'])}"
    if answer["redirects"]:
        yield f"  links elsewhere that lead there, which are added, too: {len(answer['redirects'])}"
        yield from _some([f"{row['url']} to {row['final_url']}" for row in answer["redirects"]])
    if answer["copies"]:
        count = len(answer["copies"])
        yield f"  documents elsewhere with the same text, or nearly, which stay: {count}"
        yield from _some(
            [f"{row['url']} ({row['kind']}, {row['jaccard']:.2f})" for row in answer["copies"]]
        )


def _counts(numbers: dict[str, int]) -> str:
    return escape(", ".join(f"{name} {count:,}" for name, count in numbers.items()) or "none")


def _some(lines: Sequence[str]) -> Iterator[str]:
    yield from (f"    {escape(line)}" for line in lines[:SHOWN])
    if len(lines) > SHOWN:
        yield f"    and {len(lines) - SHOWN} more; --as-json has all"
