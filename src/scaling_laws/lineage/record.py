"""The story of one page, from the submissions that named it to the runs that read its text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.markup import escape
from rich.tree import Tree

from scaling_laws.corpus.links.urls import identity, normalise, url_id
from scaling_laws.errors import InputError
from scaling_laws.lineage.graph import Graph, Job
from scaling_laws.tokens.reader import Batches, TokenStream
from scaling_laws.training.spec import RunSpec

SPLITS = ("train", "test")


def story(graph: Graph, url: str | None = None, document: str | None = None) -> dict[str, Any]:
    """Return what is known of a page, by its address or by the document that came of it.

    Args:
        graph: The results.
        url: Address of the page, in any of its spellings.
        document: A doc_id.

    Returns:
        `url_id`, `url`; `submissions`, each with what became of it; `fetch`, the row of the crawl,
        or None; `document`, with `doc_id` and `words`, or `rejected` and its reason, or None;
        `duplicate`, the document kept in its favour, or None; `split`, or None; `tokens`, with
        file, offset and count, or None; `runs`, with how often each has read it; `ends`, one
        sentence.

    Raises:
        InputError: When nothing names the page, or there is no such document.
    """
    if document is not None:
        rows = _rows(graph, "extract", "doc_id", document)
        if not rows:
            raise InputError(f"--document {document}: no shard has it; expected a doc_id")
        # Equal texts are one document; the first of their pages stands for it.
        url = rows[0]["url"]
    assert url is not None
    try:
        page = identity(normalise(url))
    except ValueError as error:
        raise InputError(f"--url: {error}") from None
    key = url_id(page)
    found: dict[str, Any] = {"url_id": key, "url": url}
    found["submissions"] = list(_submissions(graph, url, page))
    links = _rows(graph, "merge-links", "url_id", key)
    found["link"] = {"url": links[0]["url"], "score": links[0]["score"]} if links else None
    fetch = _rows(graph, "crawl", "url_id", key)
    found["fetch"] = fetch[0] if fetch else None
    if not found["submissions"] and not links and not fetch:
        raise InputError(f"--url {url}: no submission of the dumps named it (page {page})")
    found |= {"document": None, "rejected": None, "duplicate": None, "leak": None}
    found |= {"split": None, "tokens": None, "runs": []}
    for row in _rows(graph, "extract", "url_id", key):
        if "reason" in row:
            found["rejected"] = row["reason"]
        else:
            found["document"] = {"doc_id": row["doc_id"], "words": row["words"]}
            found["document"]["title"] = row["title"]
    if found["document"]:
        _follow(graph, found, key)
    found["ends"] = _ending(found)
    return found


def _submissions(graph: Graph, url: str, page: str) -> Iterator[dict[str, Any]]:
    """Yield the submissions that named a page, with what each lacked to make it a link."""
    named = {url, page}
    for job in _jobs(graph, "links"):
        for path in job.outputs:
            if path.suffix != ".parquet":
                continue
            for row in _of_table(path, "canonical_url", page):
                named.add(row["url"])
                yield {
                    "submission": row["submission"],
                    "dump": job.subject,
                    "url": row["url"],
                    "score": row["score"],
                    "subreddit": row["subreddit"],
                    "rejected": None,
                }
    for command in ("links", "merge-links"):
        for job in _jobs(graph, command):
            for path in job.outputs:
                if not path.name.endswith(".rejected.parquet"):
                    continue
                for row in _of_table(path, "url", *named):
                    yield {
                        "submission": row["submission"],
                        "dump": job.subject if command == "links" else None,
                        "url": row["url"],
                        "rejected": row["reason"],
                    }


def _follow(graph: Graph, found: dict[str, Any], key: str) -> None:
    """Add what became of a document: duplicate or kept, its split, its tokens and runs."""
    doc_id = found["document"]["doc_id"]
    for row in _rows(graph, "clusters", "doc_id", doc_id):
        if row.get("kept_doc_id"):
            kept = _rows(graph, "extract", "doc_id", row["kept_doc_id"])
            found["duplicate"] = {
                "of": row["kept_doc_id"],
                "url": kept[0]["url"] if kept else None,
                "kind": row["kind"],
                "jaccard": row["jaccard"],
                "reason": row["reason"],
            }
    for row in _rows(graph, "dedup", "doc_id", doc_id):
        # Exact copies share their doc_id: the text is in the corpus by another page.
        if row["url_id"] != key:
            found["duplicate"] = found["duplicate"] or {
                "of": doc_id, "url": row["url"], "kind": "exact", "jaccard": 1.0, "reason": None
            }  # fmt: skip
            return
    if found["duplicate"]:
        return
    for job in _jobs(graph, "split"):
        for path in job.outputs:
            if path.suffix == ".parquet" and _of_table(path, "doc_id", doc_id):
                if path.stem in SPLITS:
                    found["split"] = path.stem
                else:
                    found["leak"] = path.stem
    for job in _jobs(graph, "encode"):
        for path in job.outputs:
            if job.subject == found["split"] and path.name.endswith(".documents.parquet"):
                for row in _of_table(path, "doc_id", doc_id):
                    file = path.with_name(path.name.replace(".documents.parquet", ".bin"))
                    found["tokens"] = {
                        "file": graph.shown(file),
                        "offset": row["offset"],
                        "tokens": row["tokens"],
                    }
                    if found["split"] == "train":
                        found["runs"] = list(_runs(graph, file, row["offset"], row["tokens"]))


def _runs(graph: Graph, file: Path, offset: int, tokens: int) -> Iterator[dict[str, Any]]:
    """Yield the runs that were trained on a document, with how often they read it."""
    for job in _jobs(graph, "train"):
        if file not in job.inputs:
            continue
        spec = RunSpec.model_validate(job.made.parameters["spec"])
        steps = int(job.made.statistics.get("steps", spec.steps))
        stream = TokenStream(file, spec.data_tokens, spec.data_seed)
        batches = Batches(stream, spec.n_ctx, spec.batch_sequences, spec.seed)
        times = batches.times_read(stream.place(offset), tokens, steps)
        if times:
            yield {"run": spec.name, "times": times}


def _jobs(graph: Graph, command: str) -> Iterable[Job]:
    return [job for job in graph.jobs if job.made.command == command]


def _rows(graph: Graph, command: str, column: str, value: str) -> list[dict[str, Any]]:
    """Return the rows of a value in all tables that jobs of a command have written."""
    return [
        row
        for job in _jobs(graph, command)
        for path in job.outputs
        if path.suffix == ".parquet"
        for row in _of_table(path, column, value)
    ]


def _of_table(path: Path, column: str, *values: str) -> list[dict[str, Any]]:
    """Return the rows of a table in which a column has one of some values, without their texts.

    Raises:
        InputError: The table is missing or damaged.
    """
    try:
        names = pq.read_schema(path).names
        if column not in names:
            return []
        wanted = [name for name in names if name != "text"]
        rows = pq.read_table(path, columns=wanted, filters=pc.field(column).isin(values))
        found: list[dict[str, Any]] = rows.to_pylist()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; a manifest says that it was written") from None
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a whole Parquet file ({reason})") from None
    return found


def _ending(found: dict[str, Any]) -> str:
    """Return in one sentence what became of the page."""
    fetch, document = found["fetch"], found["document"]
    if found["link"] is None:
        reasons = sorted({row["rejected"] for row in found["submissions"] if row["rejected"]})
        return f"It was not crawled: {'; '.join(reasons) or 'no submission was taken'}."
    if fetch is None:
        return "It is a link, and has not been crawled."
    if fetch["outcome"] != "ok":
        return f"It was not fetched: {fetch['outcome']} ({fetch['detail']})."
    if document is None:
        return f"Its text was rejected: {found['rejected'] or 'no reason is known'}."
    if twin := found["duplicate"]:
        kind = "an exact copy" if twin["kind"] == "exact" else "a near duplicate"
        return f"It was dropped as {kind} of {twin['url'] or twin['of']}."
    if found["split"] is None:
        return "It was left out of both splits, near a document of the test split."
    if found["tokens"] is None:
        return f"It is in the {found['split']} split, which is not encoded."
    return f"Its text is in the {found['split']} split."


def tell(graph: Graph, found: dict[str, Any]) -> Iterable[object]:
    """Yield the story of a page as people read it."""
    tree = Tree(f"[bold]{escape(found['url'])}[/]  page {found['url_id']}")
    count = len(found["submissions"])
    named = tree.add(f"named by {count} submission{'s' * (count != 1)}")
    for row in found["submissions"]:
        end = f": rejected, {row['rejected']}" if row["rejected"] else f", score {row['score']}"
        where = f" in {row['dump']}" if row["dump"] else ""
        named.add(escape(f"{row['submission']}{where}{end}"))
    if fetch := found["fetch"]:
        status = f", HTTP {fetch['status']}" if pd.notna(fetch["status"]) else ""
        detail = f" ({fetch['detail']})" if fetch["detail"] else ""
        tree.add(escape(f"fetch: {fetch['outcome']}{detail}{status}, {fetch['fetched_at']:%F %T}"))
    if found["rejected"]:
        tree.add(escape(f"text rejected: {found['rejected']}"))
    if document := found["document"]:
        tree.add(
            escape(f"document {document['doc_id']}, {document['words']} words: {document['title']}")
        )
    if twin := found["duplicate"]:
        alike = f", Jaccard {twin['jaccard']:.3f}" if twin["jaccard"] is not None else ""
        tree.add(escape(f"duplicate ({twin['kind']}{alike}) of {twin['of']}, {twin['url']}"))
    if found["split"]:
        tree.add(f"split: {found['split']}")
    if place := found["tokens"]:
        last = place["offset"] + place["tokens"] - 1
        tree.add(
            escape(f"tokens {place['offset']} to {last} of {place['file']} ({place['tokens']})")
        )
    if found["runs"]:
        seen = tree.add(f"read by {len(found['runs'])} runs")
        for row in found["runs"]:
            seen.add(escape(f"{row['run']}: {row['times']:.3g} times"))
    yield tree
    yield escape(found["ends"])
