"""The story of one page, from the submissions that named it to the runs that read its text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pandas as pd
from rich.markup import escape
from rich.tree import Tree

from scaling_laws.corpus.forgotten import Forgotten
from scaling_laws.corpus.links.urls import identity, normalise, url_id
from scaling_laws.errors import InputError
from scaling_laws.lineage.graph import Graph, counted
from scaling_laws.lineage.rows import Row, pages, rows_with, search, tables
from scaling_laws.text_files import WITH_ADDRESSES
from scaling_laws.tokens.reader import Batches, TokenStream
from scaling_laws.training.spec import RunSpec

SPLITS = ("train", "test")


def story(graph: Graph, url: str | None = None, document: str | None = None) -> Row:
    """Return what is known of a page, by its address or by the document that came of it.

    Args:
        graph: The results.
        url: Address of the page, in any of its spellings.
        document: A doc_id, of the crawl or of another corpus.

    Returns:
        `url_id`, `url`; `asked_for`, an address that no submission named, but that the page led to
        by redirects, or None; `submissions`, each with what became of it; `fetch`, the row of the
        crawl, or None; `redirected_here`, other links that led to it or to what was asked for;
        `document`, with `doc_id` and `words`, or `rejected` and its reason, or None; `duplicate`,
        the document kept in its favour, or None; `split`, or None; `tokens`, with file, offset and
        count, or None; `runs`, with how often each has read it, and how often until the step whose
        weights it kept; `corpora`, what other corpora have of it, with `corpus`, `doc_id` and
        `words`, or `rejected` and its reason; `evaluated`, runs by the split or corpus where their
        sample for evaluation has some of it; `ends`, one sentence;
        `not_whole`, what keeps it from being the whole story, or None.

    Raises:
        InputError: When nothing names the page, or there is no such document.
    """
    if document is not None:
        url = _address(graph, document)
    assert url is not None
    try:
        page = identity(normalise(url))
    except ValueError as error:
        raise InputError(f"--url: {error}") from None
    key = url_id(page)
    found: Row = {"url_id": key, "url": url, "asked_for": None}
    found["submissions"] = _submissions(graph, url, page)
    links = list(rows_with(graph, "merge-links", "url_id", [key]))
    found["link"] = {"url": links[0]["url"], "score": links[0]["score"]} if links else None
    fetch = list(rows_with(graph, "crawl", "url_id", [key]))
    found["fetch"] = fetch[0] if fetch else None
    columns = ("url_id", "url", "final_url")
    ended = [row for _, row in pages(graph, "crawl", columns, Forgotten([page]))]
    found["redirected_here"] = [row["url"] for row in ended if row["url_id"] != key]
    found |= _in_corpora(graph, page)
    if not (found["submissions"] or links or fetch or found["corpora"]):
        if not found["redirected_here"]:
            raise InputError(
                f"--url {url}: no submission of the dumps named it, and no document of another "
                f"corpus is from there (page {page})"
            )
        first, *others = found["redirected_here"]
        return story(graph, first) | {"asked_for": url, "redirected_here": others}
    found |= {"document": None, "rejected": None, "duplicate": None, "leak": None}
    found |= {"split": None, "tokens": None, "runs": []}
    for row in rows_with(graph, "extract", "url_id", [key]):
        if "reason" in row:
            found["rejected"] = row["reason"]
        else:
            found["document"] = {"doc_id": row["doc_id"], "words": row["words"]}
            found["document"]["title"] = row["title"]
    if found["document"]:
        _follow(graph, found, key)
    found["not_whole"] = graph.gap(graph.unexplained(graph.jobs))
    found["ends"] = _ending(found)
    return found


def _address(graph: Graph, document: str) -> str:
    """Return the address of the page that a document came of.

    Raises:
        InputError: There is no such document, or its corpus gives none.
    """
    # Equal texts are one document; the first of their links stands for it. Its own address, as
    # several may lead to one page by redirects.
    for row in rows_with(graph, "extract", "doc_id", [document], ("doc_id", "url_id", "url")):
        links = rows_with(graph, "crawl", "url_id", [row["url_id"]], ("url_id", "url"))
        return str(next(links, row)["url"])
    for path in tables(graph, "corpus", ("doc_id", "url", "text")):
        for row in search(path, "doc_id", [document], ("url",)):
            job = graph.maker[path]
            if job.made.parameters["format"] in WITH_ADDRESSES:
                return str(row["url"])
            raise InputError(
                f"--document {document}: found in the corpus {job.subject}, whose documents have "
                "no address; expected one of a page"
            )
    raise InputError(f"--document {document}: no shard and no corpus has it; expected a doc_id")


def _in_corpora(graph: Graph, page: str) -> Row:
    """Return what other corpora have of a page, and the runs that were evaluated on it there."""
    found: Row = {"corpora": [], "evaluated": {}}
    columns = ("url", "doc_id", "words", "text")
    for path, row in pages(graph, "corpus", columns, Forgotten([page])):
        corpus = graph.maker[path].subject
        known = {"corpus": corpus, "doc_id": row["doc_id"], "words": row["words"]}
        found["corpora"].append(known | {"rejected": None})
        for tokens in tables(graph, "encode", ("doc_id", "offset")):
            if graph.maker[tokens].subject == corpus:
                for part in search(tokens, "doc_id", [row["doc_id"]]):
                    file = _token_file(tokens)
                    found["evaluated"][corpus] = evaluated_on(graph, file, part["offset"])
    for path, row in pages(graph, "corpus", ("url", "reason"), Forgotten([page])):
        known = {"corpus": graph.maker[path].subject, "doc_id": None, "words": None}
        found["corpora"].append(known | {"rejected": row["reason"]})
    return found


def evaluated_on(graph: Graph, file: Path, offset: int) -> list[str]:
    """Return the runs that were evaluated on a document, at the end or while they trained.

    An evaluation takes a sample of the token file, which may miss the document.

    Args:
        graph: The results.
        file: The token file.
        offset: Where the document begins in it.
    """
    stream = TokenStream(file)
    number = stream.number(offset)

    @cache
    def holds(sampled: int, n_ctx: int) -> bool:
        return number in stream.documents(stream.places(sampled, n_ctx), n_ctx)

    names = []
    for job in graph.readers.get(file, []):
        evaluates = job.made.command == "evaluate"
        for trained in graph.before([job]) if evaluates else [job]:
            if trained.made.command != "train":
                continue
            spec = RunSpec.model_validate(trained.made.parameters["spec"])
            sampled = job.made.parameters["tokens"] if evaluates else spec.test_tokens
            if holds(sampled, spec.n_ctx):
                names.append(spec.name)
    return list(dict.fromkeys(names))


def _token_file(documents: Path) -> Path:
    return documents.with_name(documents.name.replace(".documents.parquet", ".bin"))


def _submissions(graph: Graph, url: str, page: str) -> list[Row]:
    """Return the submissions that named a page, with what each lacked to make it a link."""
    named = {url, page}
    found = []
    for path in tables(graph, "links", ("canonical_url", "score")):
        for row in search(path, "canonical_url", [page]):
            named.add(row["url"])
            facts = {name: row[name] for name in ("submission", "url", "score", "subreddit")}
            found.append(facts | {"dump": graph.maker[path].subject, "rejected": None})
    taken = {row["submission"]: row for row in found}
    for command in ("links", "merge-links"):
        for path in tables(graph, command, ("submission", "url", "reason")):
            dump = graph.maker[path].subject if command == "links" else None
            for row in search(path, "url", named):
                # Merging rejects what a dump's own selection had taken.
                if row["submission"] in taken and command == "merge-links":
                    taken[row["submission"]]["rejected"] = row["reason"]
                else:
                    facts = {"submission": row["submission"], "url": row["url"]}
                    found.append(facts | {"dump": dump, "rejected": row["reason"]})
    return found


def _follow(graph: Graph, found: Row, key: str) -> None:
    """Add what became of a document: duplicate or kept, its split, its tokens and runs."""
    doc_id = found["document"]["doc_id"]
    for row in rows_with(graph, "clusters", "doc_id", [doc_id]):
        if row.get("kept_doc_id"):
            kept = list(rows_with(graph, "extract", "doc_id", [row["kept_doc_id"]]))
            found["duplicate"] = {
                "of": row["kept_doc_id"],
                "url": kept[0]["url"] if kept else None,
                "kind": row["kind"],
                "jaccard": row["jaccard"],
                "reason": row["reason"],
            }
    for row in rows_with(graph, "dedup", "doc_id", [doc_id]):
        # Exact copies share their doc_id: the text is in the corpus by another page.
        if row["url_id"] != key:
            found["duplicate"] = found["duplicate"] or {
                "of": doc_id, "url": row["url"], "kind": "exact", "jaccard": 1.0, "reason": None
            }  # fmt: skip
            return
    if found["duplicate"]:
        return
    for path in tables(graph, "split", ("doc_id",)):
        if search(path, "doc_id", [doc_id]):
            if path.stem in SPLITS:
                found["split"] = path.stem
            else:
                found["leak"] = path.stem
    for path in tables(graph, "encode", ("doc_id", "offset")):
        if graph.maker[path].subject != found["split"]:
            continue
        for row in search(path, "doc_id", [doc_id]):
            file = _token_file(path)
            found["tokens"] = {
                "file": graph.shown(file),
                "offset": row["offset"],
                "tokens": row["tokens"],
            }
            if found["split"] == "train":
                found["runs"] = list(_runs(graph, file, row["offset"], row["tokens"]))
            else:
                found["evaluated"][found["split"]] = evaluated_on(graph, file, row["offset"])


def _runs(graph: Graph, file: Path, offset: int, tokens: int) -> Iterator[Row]:
    """Yield the runs that were trained on a document, with how often they read it."""
    for job in graph.readers.get(file, []):
        if job.made.command != "train":
            continue
        spec = RunSpec.model_validate(job.made.parameters["spec"])
        steps = int(job.made.statistics.get("steps", spec.steps))
        kept = int(job.made.statistics.get("step", steps))  # with the best weights, if those are
        stream = TokenStream(file, spec.data_tokens, spec.data_seed)
        batches = Batches(stream, spec.n_ctx, spec.batch_sequences, spec.seed)
        where = stream.place(offset)
        times = batches.times_read(where, tokens, steps)
        if times:
            until = batches.times_read(where, tokens, kept) if kept < steps else times
            yield {"run": spec.name, "times": times, "kept_step": kept, "times_kept": until}


def _ending(found: Row) -> str:
    """Return in one sentence what became of the page: the last that is known of it."""
    fetch = found["fetch"]
    lost = found["not_whole"]  # so that what is not known may have been nevertheless
    if found["tokens"]:
        return f"Its text is in the {found['split']} split."
    if found["split"]:
        end = "; no manifest tells of its tokens" if lost else ", which is not encoded"
        return f"It is in the {found['split']} split{end}."
    if twin := found["duplicate"]:
        kind = "an exact copy" if twin["kind"] == "exact" else "a near duplicate"
        why = f" ({twin['reason']})" if twin["reason"] not in (None, "duplicate") else ""
        return f"It was dropped as {kind} of {twin['url'] or twin['of']}{why}."
    if found["leak"]:
        return "It was left out of both splits, near a document of the test split."
    if found["document"]:
        return "It is a document; no manifest tells of its split."
    if found["rejected"]:
        return f"Its text was rejected: {found['rejected']}."
    if fetch is not None and fetch["outcome"] != "ok":
        return f"It was not fetched: {fetch['outcome']} ({fetch['detail']})."
    if fetch is not None:
        return "It was fetched; no manifest tells of its text."
    if found["link"]:
        end = "; no manifest tells of its crawl" if lost else ", and has not been crawled"
        return f"It is a link{end}."
    if found["submissions"]:
        reasons = sorted({row["rejected"] for row in found["submissions"] if row["rejected"]})
        return f"It was not crawled: {'; '.join(reasons) or 'no submission was taken'}."
    if all(row["rejected"] for row in found["corpora"]):
        return "It is a page of another corpus, whose text was rejected."
    return "It is in another corpus alone."


def tell(graph: Graph, found: Row) -> Iterable[object]:
    """Yield the story of a page as people read it."""
    tree = Tree(f"[bold]{escape(found['url'])}[/]  page {found['url_id']}")
    if found["asked_for"]:
        tree.add(escape(f"it led to {found['asked_for']}, which no submission named"))
    # One that was posted to several places stands in a dump as often.
    submissions = {row["submission"] for row in found["submissions"]}
    said = counted(len(submissions), "submission") if submissions else "no submission"
    named = tree.add(f"named by {said}")
    for row in found["submissions"]:
        where = f" in {row['dump']}" if row["dump"] else ""
        score = f", score {row['score']}" if "score" in row else ""
        end = f": rejected, {row['rejected']}" if row["rejected"] else ""
        named.add(escape(f"{row['submission']}{where}{score}{end}"))
    if fetch := found["fetch"]:
        status = f", HTTP {fetch['status']}" if pd.notna(fetch["status"]) else ""
        detail = f" ({fetch['detail']})" if fetch["detail"] else ""
        end = fetch["final_url"]
        led = f", by redirects to {end}" if end and end != fetch["url"] else ""
        when = f"{fetch['fetched_at']:%F %T}"
        tree.add(escape(f"fetch: {fetch['outcome']}{detail}{status}{led}, {when}"))
    if others := found["redirected_here"]:
        where = found["asked_for"] or "it"
        tree.add(escape(f"redirects from elsewhere led to {where}: {', '.join(others)}"))
    if found["rejected"]:
        tree.add(escape(f"text rejected: {found['rejected']}"))
    if document := found["document"]:
        tree.add(
            escape(f"document {document['doc_id']}, {document['words']} words: {document['title']}")
        )
    if twin := found["duplicate"]:
        alike = f", Jaccard {twin['jaccard']:.3f}" if twin["jaccard"] is not None else ""
        why = f", {twin['reason']}" if twin["reason"] not in (None, "duplicate") else ""
        tree.add(escape(f"duplicate ({twin['kind']}{alike}{why}) of {twin['of']}, {twin['url']}"))
    if found["split"]:
        tree.add(f"split: {found['split']}")
    if place := found["tokens"]:
        last = place["offset"] + place["tokens"] - 1
        tree.add(
            escape(f"tokens {place['offset']} to {last} of {place['file']} ({place['tokens']})")
        )
    if found["runs"]:
        seen = tree.add(f"read by {counted(len(found['runs']), 'run')}")
        for row in found["runs"]:
            kept = ""
            if row["times_kept"] != row["times"]:
                until = _times(row["times_kept"])
                kept = f", {until} until step {row['kept_step']}, whose weights it kept"
            seen.add(escape(f"{row['run']}: {_times(row['times'])}{kept}"))
    elif found["tokens"] and found["split"] == "train":
        tree.add("no run has read it")
    for row in found["corpora"]:
        if row["rejected"]:
            said = f"page of the corpus {row['corpus']}, text rejected: {row['rejected']}"
        else:
            said = f"document {row['doc_id']} of the corpus {row['corpus']}, {row['words']} words"
        tree.add(escape(said))
    for name, runs in found["evaluated"].items():
        said = counted(len(runs), "run") if runs else "no run, as no sample has it"
        tree.add(escape(f"evaluated on {name} with it: {said}"))
    yield tree
    yield escape(found["ends"])
    if found["not_whole"]:
        yield f"[red]{escape(found['not_whole'])}[/]"


def _times(times: float) -> str:
    said = f"{times:.3g}"
    return "once" if said == "1" else f"{said} times"
