"""`scaling-laws forget`: leave a page or a domain out, and tell what in the results comes of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.markup import escape

from scaling_laws.config import Config, validate
from scaling_laws.corpus.forgotten import Forgotten, domain_entry, host_of, page_entry
from scaling_laws.errors import InputError
from scaling_laws.lineage.graph import Graph, Job
from scaling_laws.lineage.stages import edges_of, layers_of, stages_of
from scaling_laws.output import atomic
from scaling_laws.tables import read_batches

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
    that when it is run again; until then they are as they were.

    Args:
        results: Folder of the results.
        url: Address of the page.
        domain: The domain, such as example.com.
        list: Text file of the exclusions; absent for the one that the configuration of the results
            names (`forgotten`).
        as_json: Print JSON: all addresses, documents and files.

    Raises:
        InputError: When neither or both are named, one is no address or domain, there are no
            results, or a table of them or the list cannot be read.
    """
    if (url is None) == (domain is None):
        raise InputError("forget: expected one of --url and --domain")
    try:
        entry = page_entry(url) if url is not None else domain_entry(domain or "")
    except ValueError as error:
        raise InputError(f"--{'domain' if url is None else 'url'}: {error}") from None
    graph = Graph(results)
    listed = list or list_of(graph.results)
    before = Forgotten.read(listed)
    answer = {"entry": entry, "list": str(listed)} | traces(graph, entry)
    wanted = dict.fromkeys([entry, *(page_entry(row["url"]) for row in answer["redirects"])])
    answer["added"] = [each for each in wanted if not before.covers(each)]
    if answer["added"]:
        append(listed, answer["added"])
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    for line in tell(answer, graph.shown(graph.results)):
        console.print(line)


def list_of(results: Path) -> Path:
    """Return the list that the configuration of some results names.

    Raises:
        InputError: The configuration cannot be read.
    """
    path = results / "config.yaml"
    if not path.is_file():
        return Config().forgotten
    try:
        return validate(yaml.safe_load(path.read_text()), str(path)).forgotten
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None


def append(path: Path, entries: Iterable[str]) -> None:
    """Add lines to a list, which keeps what it has, comments included."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if text and not text.endswith("\n"):
        text += "\n"
    with atomic(path, renews=True) as partial:
        partial.write_text(text + "".join(f"{entry}\n" for entry in entries), encoding="utf-8")


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
        `jaccard`; `corpora`, numbers of documents by corpus; `rebuild`, the files by rule.

    Raises:
        InputError: A table is missing or damaged.
    """
    source = Forgotten([entry])
    links = [*_pages(graph, "merge-links", ("url", "canonical_url"), source)]
    fetched = [*_pages(graph, "crawl", ("url_id", "url", "final_url", "outcome"), source)]
    names = {row["url_id"] for _, row in fetched if row["outcome"] == "ok"}
    documents = {
        row["doc_id"]: row["url"]
        for row in _named(graph, "extract", ("url_id", "url", "doc_id"), names)
    }
    parts = _parts(graph, documents)
    encoded = _named(graph, "encode", ("doc_id", "tokens"), documents)
    elsewhere = [*_pages(graph, "corpus", ("url", "doc_id", "text"), source)]
    roots = [job for job, _ in (*links, *fetched, *elsewhere)]
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
        "corpora": dict(Counter(job.subject for job, _ in elsewhere)),
        "rebuild": _files(graph, graph.downstream(roots)),
    }


def _parts(graph: Graph, documents: Iterable[str]) -> dict[str, str]:
    """Return for each document its split, or why it has none."""
    parts = dict.fromkeys(documents, "left out")
    for row in _named(graph, "clusters", ("doc_id", "kept_doc_id"), parts):
        parts[row["doc_id"]] = "duplicate"
    for path in _tables(graph, "split", ("doc_id", "text")):
        for row in _rows(path, ("doc_id",), "doc_id", parts):
            parts[row["doc_id"]] = path.stem
    return parts


def _copies(graph: Graph, documents: Container[str]) -> list[dict[str, Any]]:
    """Return the documents elsewhere that are exact or near duplicates of some."""
    found: dict[str, dict[str, Any]] = {}
    pairs = [*_all(graph, "clusters", ("doc_id", "kept_doc_id", "kind", "jaccard"))]
    kept = {row["kept_doc_id"] for row in pairs if row["doc_id"] in documents}
    for row in pairs:
        # What was kept in favour of one of them, and what was dropped in favour of the same.
        if row["kept_doc_id"] in kept or row["kept_doc_id"] in documents:
            for name in (row["doc_id"], row["kept_doc_id"]):
                found[name] = {"kind": row["kind"], "jaccard": row["jaccard"]}
    for row in _all(graph, "split", ("doc_id", "test_doc_id", "jaccard")):
        for one, other in (
            (row["doc_id"], row["test_doc_id"]),
            (row["test_doc_id"], row["doc_id"]),
        ):
            if one in documents:
                found[other] = {"kind": "near", "jaccard": row["jaccard"]}
    others = [name for name in found if name not in documents]
    return [
        {"doc_id": row["doc_id"], "url": row["url"]} | found[row["doc_id"]]
        for row in _named(graph, "extract", ("doc_id", "url"), set(others))
    ]


def _files(graph: Graph, jobs: Sequence[Job]) -> dict[str, list[str]]:
    """Return the files of some jobs by rule, in the order of the flow."""
    layers = layers_of(stages_of(graph), edges_of(graph))
    files: dict[str, list[str]] = {name: [] for layer in layers for name in layer}
    for job in jobs:
        own = [path for path in job.outputs if graph.maker[path] is job]
        files[job.name].extend(map(graph.shown, own))
    return {name: paths for name, paths in files.items() if paths}


def _pages(
    graph: Graph, command: str, columns: Sequence[str], source: Forgotten
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Yield the rows of the pages of a source in the tables of a command, each with its job."""
    hosts = [host_of(entry) for entry in source.entries]
    wanted = [name for name in columns if name != "text"]
    addresses = [name for name in wanted if name.endswith("url")]
    for path in _tables(graph, command, columns):
        for batch in read_batches(path, wanted, nullable=wanted):
            # Few addresses have the host in them, and only those are taken apart.
            near = pa.array([False] * len(batch))
            for name in addresses:
                for host in hosts:
                    holds = pc.match_substring(batch[name], host, ignore_case=True)
                    near = pc.or_(near, pc.fill_null(holds, False))
            for row in batch.filter(near).to_pylist():
                if any(row[name] in source for name in addresses if row[name]):
                    yield graph.maker[path], row


def _named(
    graph: Graph, command: str, columns: Sequence[str], names: Iterable[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows in the tables of a command whose first column has one of some values."""
    for path in _tables(graph, command, columns):
        yield from _rows(path, columns, columns[0], names)


def _all(graph: Graph, command: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for path in _tables(graph, command, columns):
        for batch in read_batches(path, columns, nullable=columns):
            yield from batch.to_pylist()


def _rows(
    path: Path, columns: Sequence[str], column: str, names: Iterable[str]
) -> Iterator[dict[str, Any]]:
    values = pa.array([*names], pa.string())
    for batch in read_batches(path, columns):
        yield from batch.filter(pc.is_in(batch[column], value_set=values)).to_pylist()


def _tables(graph: Graph, command: str, columns: Sequence[str]) -> Iterator[Path]:
    """Yield the tables that jobs of a command have written and that have some columns.

    Raises:
        InputError: One is no longer there.
    """
    for path, job in graph.maker.items():
        if job.made.command == command and path.suffix == ".parquet":
            try:
                names = pq.read_schema(path).names
            except FileNotFoundError:
                raise InputError(
                    f"{path}: no such file; a manifest says that it was written"
                ) from None
            if set(columns) <= set(names):
                yield path


def tell(answer: dict[str, Any], results: str) -> Iterator[str]:
    """Yield what `traces` found as people read it."""
    entry, listed = escape(answer["entry"]), escape(answer["list"])
    if answer["added"]:
        yield f"[bold]{entry}[/] added to {listed}"
    else:
        yield f"[bold]{entry}[/] is in {listed} already"
    if not answer["rebuild"]:
        yield (
            f"{escape(results)} has nothing of it: no link to it was crawled, and no document of "
            "another corpus is from there. Nothing has to be rebuilt; `snakemake --touch` tells "
            "Snakemake, which sees a new entry, that the files are good."
        )
        return
    fetched = answer["outcomes"]
    yield f"  links: {answer['links']:,}; crawled: {_counts(fetched)}"
    parts = Counter(row["part"] for row in answer["documents"])
    yield (
        f"  documents: {len(answer['documents']):,} ({_counts(parts)}), {answer['tokens']:,} tokens"
    )
    if answer["corpora"]:
        yield f"  documents of other corpora: {_counts(answer['corpora'])}"
    if answer["redirects"]:
        yield f"  links elsewhere that lead there, which are added, too: {len(answer['redirects'])}"
        yield from _some([f"{row['url']} to {row['final_url']}" for row in answer["redirects"]])
    if answer["copies"]:
        count = len(answer["copies"])
        yield f"  documents elsewhere with the same text, or nearly, which stay: {count}"
        yield from _some(
            [f"{row['url']} ({row['kind']}, {row['jaccard']:.2f})" for row in answer["copies"]]
        )
    files = {rule: len(paths) for rule, paths in answer["rebuild"].items()}
    yield f"To be rebuilt by Snakemake, {sum(files.values()):,} files: {_counts(files)}"


def _counts(numbers: dict[str, int]) -> str:
    return escape(", ".join(f"{name} {count:,}" for name, count in numbers.items()) or "none")


def _some(lines: Sequence[str]) -> Iterator[str]:
    yield from (f"    {escape(line)}" for line in lines[:SHOWN])
    if len(lines) > SHOWN:
        yield f"    and {len(lines) - SHOWN} more; --as-json has all"
