"""`scaling-laws trace`: from a result back to its sources, or forward to what came of it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from scaling_laws.errors import InputError
from scaling_laws.ledger import place
from scaling_laws.lineage import record
from scaling_laws.lineage.graph import Graph, Job, counted, results_of, whole

WIDTH = 240
NAMES = 3  # how many of several are named
UNITS = ("bytes", "kB", "MB", "GB", "TB")


def trace(
    path: Path | None = None,
    *,
    forward: bool = False,
    url: str | None = None,
    document: str | None = None,
    results: Path | None = None,
    as_json: bool = False,
) -> None:
    """Tell what made a result, back to dumps and pages; or, forward, what was made from it.

    The answer comes from the manifests alone, which lie among the results and go where they go.

    Args:
        path: A file or folder in the results: a figure, a fit, a run, a token file. A parameter of
            a fit is named as in results/fits/L_N.json:alpha_N.
        forward: Go from the file to what was made from it.
        url: Tell the story of one page instead: who named it, how the fetch ended, what became of
            its text, where its tokens lie and which runs saw them.
        document: The same of one document, by its doc_id.
        results: Folder of the results; found from the path when absent, else `results`.
        as_json: Print JSON.

    Raises:
        InputError: When nothing is known of what is named.
    """
    if [path, url, document].count(None) != 2:
        raise InputError("trace: expected one of a path, --url and --document")
    if forward and path is None:
        raise InputError(
            "--forward: expected a path with it; --url and --document tell of a page both ways"
        )
    if path is None:
        graph = Graph(whole(results or Path("results")))
        story = record.story(graph, url=url, document=document)
        _print(story, as_json, lambda: record.tell(graph, story))
        return
    stem, _, parameter = str(path).partition(".json:")
    path = Path(f"{stem}.json") if parameter else path
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    graph = Graph(results or results_of(path))
    jobs = _jobs_of(graph, path, forward)
    reached = graph.downstream(jobs) if forward else graph.upstream(jobs)
    answer = _answer(graph, path, jobs, reached, forward)
    if parameter:
        answer["parameter"] = _parameter(path, parameter)
    _print(answer, as_json, lambda: _tell(graph, path, jobs, reached, answer, forward))


def _print(answer: dict[str, Any], as_json: bool, tell: Callable[[], Iterable[object]]) -> None:
    if as_json:
        print(json.dumps(answer, indent=2, default=str))
    else:
        # A line of a tree is cut at the width, where a terminal would have wrapped it.
        console = Console(highlight=False, soft_wrap=True, width=WIDTH)
        for part in tell():
            console.print(part)


def _jobs_of(graph: Graph, path: Path, forward: bool) -> list[Job]:
    """Return the jobs that wrote a file or what is in a folder; or those that read it."""
    here = place(path)
    files = [here] if here.is_file() else [f for f in graph.maker if f.is_relative_to(here)]
    makers = list({graph.maker[f].path: graph.maker[f] for f in files if f in graph.maker}.values())
    if forward:
        found = [job for f in files or [here] for job in graph.readers.get(f, [])]
        if here.is_dir() and not found:
            found = [
                job for f, jobs in graph.readers.items() if f.is_relative_to(here) for job in jobs
            ]
        makers = list({job.path: job for job in found}.values())
        if not makers and not any(f in graph.maker for f in files):
            raise InputError(f"{path}: no job has read it")
        return makers
    if not makers:
        damaged = f"; {graph.gap([])}" if graph.damaged else ""
        raise InputError(f"{path}: no manifest says what made it{damaged}")
    return makers


def _parameter(path: Path, name: str) -> dict[str, Any]:
    """Return a constant of a fit with its interval.

    Raises:
        InputError: When the file is no fit or has no such constant.
    """
    try:
        constants: dict[str, dict[str, Any]] = json.loads(path.read_text())["parameters"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not a fit") from None
    if name not in constants:
        raise InputError(f"{path}: no parameter {name}; found {', '.join(constants)}")
    return {"name": name} | constants[name]


def _answer(
    graph: Graph, path: Path, jobs: Sequence[Job], reached: Sequence[Job], forward: bool
) -> dict[str, Any]:
    return {
        "path": graph.shown(place(path)),
        "direction": "forward" if forward else "back",
        "made_by" if not forward else "read_by": [graph.shown(job.path) for job in jobs],
        "jobs": [_of_job(graph, job) for job in reached],
        "sources": {} if forward else _sources(graph, reached),
        "totals": totals(reached),
        "outdated": {
            graph.shown(path): [graph.shown(each) for each in others]
            for job in reached
            if (others := graph.outdated(job))
            for path in job.outputs
            if graph.maker[path] is job
        },
        "changed": {
            graph.shown(each): fault
            for each, fault in (_changed(graph, path) | graph.altered(reached)).items()
        },
        "not_whole": graph.gap(graph.hiding if forward else graph.unexplained(reached)),
    }


def _changed(graph: Graph, path: Path) -> dict[Path, str]:
    """Return how a file, or those in a folder, differ from what the manifests say."""
    here = place(path)
    files = {
        each: job.outputs[each].fault(each)
        for each, job in graph.maker.items()
        if each == here or here in each.parents
    }
    return {each: fault for each, fault in files.items() if fault}


def _of_job(graph: Graph, job: Job) -> dict[str, Any]:
    content = job.made.model_dump(mode="json")
    for key, files in (("inputs", job.inputs), ("outputs", job.outputs)):
        content[key] = [
            file.model_dump(mode="json") | {"path": graph.shown(where)}
            for where, file in files.items()
        ]
    return {"manifest": graph.shown(job.path)} | content


def _sources(graph: Graph, jobs: Iterable[Job]) -> dict[str, dict[str, Any]]:
    return {
        graph.shown(path): {"bytes": file.bytes, "sha256": file.sha256}
        for path, file in sorted(graph.sources(jobs).items())
        if not path.is_relative_to(graph.results)
    }


def totals(jobs: Iterable[Job]) -> dict[str, int]:
    """Return what jobs counted, from submissions to runs, as far as their stages are among them."""
    by: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for job in jobs:
        by[job.made.command].append(job.made.statistics)
    found: Counter[str] = Counter()
    for facts in by["merge-links"]:
        found["submissions"] += facts.get("submissions", 0)
        found["links"] += facts.get("links", 0)
    for facts in by["crawl"]:
        found["pages"] += facts.get("outcomes", {}).get("ok", 0)
    for facts in by["extract"]:
        found["documents"] += facts.get("documents", 0)
    for facts in by["dedup"]:
        found["documents without duplicates"] += facts.get("documents", 0)
    found["runs"] = len(by["train"])
    return {name: count for name, count in found.items() if count}


def _tell(
    graph: Graph,
    path: Path,
    jobs: list[Job],
    reached: Sequence[Job],
    answer: dict[str, Any],
    forward: bool,
) -> Iterable[object]:
    head = escape(answer["path"])
    if found := answer.get("parameter"):
        numbers = [found[key] for key in ("value", "low", "high")]
        # A scale has no upper end when its exponent comes near zero.
        value, low, high = ("open" if each is None else f"{each:.4g}" for each in numbers)
        head += escape(f": {found['name']} = {value} ({low} to {high})")
    tree = Tree(f"[bold]{head}[/]")
    if forward and not jobs:
        tree.add("no job has read it")
    _grow(tree, graph, jobs, graph.after if forward else graph.before, set(), forward)
    yield tree
    if not forward:
        sources = answer["sources"]
        size = size_of(sum(file["bytes"] for file in sources.values()))
        dumps = [job.subject for job in reached if job.made.command == "links"]
        if dumps:
            yield f"Dumps: {', '.join(map(escape, dumps))}"
        yield f"Sources: {escape(_names(list(sources)))}, {size}" if sources else "Sources: none"
    counts = ", ".join(
        f"{count:,} {name.removesuffix('s') if count == 1 else name}"
        for name, count in answer["totals"].items()
    )
    if counts:
        whole_of = ", of this and of all else that they read" if forward else ""
        yield f"Counted by these jobs{whole_of}: {counts}"
    if changed := answer["changed"]:
        first, fault = next(iter(changed.items()))
        more = f", and {len(changed) - 1} more" if len(changed) > 1 else ""
        yield f"[red]Not what its job wrote:[/] {escape(f'{first} ({fault}){more}')}"
    if outdated := answer["outdated"]:
        name, others = next(iter(outdated.items()))
        more = f", and {len(outdated) - 1} more; `scaling-laws verify` names each"
        yield (
            "[red]Made from another version of what is there:[/] "
            f"{escape(name)} ({escape(_names(others))}){more if len(outdated) > 1 else ''}"
        )
    if answer["not_whole"]:
        yield f"[red]{escape(answer['not_whole'])}[/]"


def _grow(
    tree: Tree,
    graph: Graph,
    jobs: Sequence[Job],
    step: Callable[[Iterable[Job]], list[Job]],
    seen: set[Path],
    forward: bool,
) -> None:
    """Add the jobs to a tree, those of a rule in one node, and what is beyond each below it."""
    groups: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[job.name].append(job)
    for name, group in groups.items():
        known = all(job.path in seen for job in group)
        label = f"[cyan]{escape(name)}[/] {escape(_names([job.subject for job in group]))}"
        if known:  # what several need is told of once
            tree.add(f"{label} [dim](above)[/]")
            continue
        seen |= {job.path for job in group}
        branch = tree.add(f"{label} [dim]{escape(_facts(group))}[/]")
        further = step(group)
        _grow(branch, graph, further, step, seen, forward)
        if not forward:
            unexplained = graph.unexplained(group)
            sources = graph.sources(group).keys() - set(unexplained)
            for label, files in (
                ("[green]source[/]", sources),
                ("[red]of unknown make[/]", unexplained),
            ):
                if files:
                    names = _names([graph.shown(path) for path in sorted(files)])
                    branch.add(f"{label} {escape(names)}")


def _facts(group: Sequence[Job]) -> str:
    size = sum(file.bytes for job in group for file in job.outputs.values())
    count = sum(len(job.outputs) for job in group)
    ended = sorted(job.made.ended[:16].replace("T", " ") for job in group)
    first, last = ended[0], ended[-1]
    # The day once, where it is one.
    until = last.removeprefix(first[:11]) if last != first else ""
    codes = {
        f"code {job.made.commit[:7]}{'' if job.made.clean else ' with changes'}"
        for job in group
        if job.made.commit
    }
    when = f"{first} to {until}" if until else first
    return ", ".join([f"{counted(count, 'file')}, {size_of(size)}", when, *sorted(codes)])


def _names(names: Sequence[str]) -> str:
    """Return the first of some names and how many there are."""
    if len(names) <= NAMES:
        return ", ".join(names)
    return f"× {len(names)} ({', '.join(names[:NAMES])}, …)"


def size_of(count: int) -> str:
    """Return bytes as 12 bytes, 3.45 MB."""
    size, unit = float(count), 0
    while size >= 1000 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {UNITS[unit]}" if unit == 0 else f"{size:.3g} {UNITS[unit]}"
