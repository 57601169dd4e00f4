"""`scaling-laws verify`: whether results are what their manifests say, and belong together."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape

from scaling_laws.config import SECTIONS, Config, settings_of
from scaling_laws.corpus.forgotten import Forgotten
from scaling_laws.errors import InputError
from scaling_laws.figures import drawable
from scaling_laws.ledger import place, sha256
from scaling_laws.lineage.code import source_of
from scaling_laws.lineage.forget import left_out, list_of, pages_of
from scaling_laws.lineage.graph import Graph, Job, counted, results_of
from scaling_laws.progress import track
from scaling_laws.studies import grid
from scaling_laws.text_files import WITH_ADDRESSES

# Options that have the name of a key and not its meaning.
OTHERWISE = {"archives", "laws", "file", "blocklist", "parts", "shards"}
NAMES, REASONS = 3, 20  # files of one reason that are named, and reasons of one kind
# Snakemake goes back for a file behind others that are there only when it is asked for by name.
ANEW = "`snakemake --cores all FILE`"
KINDS = {
    "damaged": f"Manifests that cannot be read; remove them, and {ANEW} runs their jobs again",
    "changed": f"Changed since they were written; remove them, and {ANEW} makes them anew",
    "missing": f"Missing; {ANEW} makes them anew",
    "source": "Sources that are not what was read",
    "stale": "Made from another version of an input",
    "code": "Made by older code",
    "config": "Made with other settings than the configuration",
    "forgotten": "Of sources that are to be forgotten",
    "orphan": "Of a former grid: the configuration does not name them",
    "unknown": "Not written by any job that left a manifest",
}


class Finding(NamedTuple):
    """One thing that is not as it should be.

    Attributes:
        kind: Key of `KINDS`.
        path: The file.
        reason: What was found and what was expected.
    """

    kind: str
    path: str
    reason: str


def verify(
    results: Path = Path("results"),
    *,
    explain: Path | None = None,
    configfile: list[Path] | None = None,
    as_json: bool = False,
) -> None:
    """Rehash results, and list what is not as the manifests say; exit code 1 if anything is.

    Listed are files changed by hand or missing, made from another version of an input, by older
    code or with other settings than those in config.yaml of the results, files that a former grid
    left, pages of sources that are to be forgotten (`forget`), and files that no job has written.
    Printed are the reasons, each with its first files; JSON has all files. Nothing but the results
    is needed; where the sources outside of them are there they are rehashed, too.

    Args:
        results: Folder of the results, or one in it.
        explain: Say instead why Snakemake would make this file anew, and whether it is what its job
            wrote. Run it beside the Snakefile.
        configfile: Overlays of config.yaml for --explain, as given to snakemake.
        as_json: Print JSON.

    Raises:
        InputError: When there are no results, or Snakemake cannot tell.
    """
    if explain is not None:
        if results != Path("results") and not place(explain).is_relative_to(place(results)):
            raise InputError(f"--explain {explain}: not in {results}")
        _print_reasons(explain, configfile or [], as_json)
        return
    if configfile:
        raise InputError(
            "--configfile: expected --explain with it; results are compared with the config.yaml "
            "that is among them"
        )
    graph = Graph(results)
    found = list(findings(graph))
    files = sum(len(job.outputs) for job in graph.jobs)
    outside = {*graph.sources(graph.jobs), *graph.maker}
    absent = [
        path for path in outside if not path.is_relative_to(graph.results) and not path.is_file()
    ]
    if as_json:
        rows = [finding._asdict() for finding in found]
        facts = {"jobs": len(graph.jobs), "files": files, "sources_not_here": len(absent)}
        print(json.dumps(facts | {"findings": rows}, indent=2))
    else:
        for line in _lines(found):
            Console(highlight=False, soft_wrap=True).print(line)
        if absent:
            print(
                f"Not here to be rehashed: {counted(len(absent), 'source')} outside of the results"
            )
        jobs = counted(len(graph.jobs), "job")
        print(f"{jobs}, {counted(files, 'file')}: {_verdict(found)}")
    if found:
        raise SystemExit(1)


def _verdict(found: list[Finding]) -> str:
    if not found:
        return "all as it was written"
    return counted(len(found), "finding")


def _lines(found: list[Finding]) -> Iterator[str]:
    by: dict[str, list[Finding]] = defaultdict(list)
    for finding in found:
        by[finding.kind].append(finding)
    for kind in KINDS:
        if not by[kind]:
            continue
        yield f"[bold]{KINDS[kind]}[/]"
        alike: dict[str, list[str]] = defaultdict(list)
        for each in by[kind]:
            alike[each.reason].append(each.path)
        for reason, paths in list(alike.items())[:REASONS]:
            more = len(paths) - NAMES
            names = ", ".join(paths[:NAMES]) + (f" and {more} more" if more > 0 else "")
            yield f"  {escape(names)}: {escape(reason)}"
        if left := sum(map(len, list(alike.values())[REASONS:])):
            yield f"  and {left} more files, for {len(alike) - REASONS} other reasons"


def findings(graph: Graph) -> Iterator[Finding]:
    """Yield what is not as it should be, kind by kind."""
    for path, reason in graph.damaged.items():
        yield Finding("damaged", graph.shown(path), reason)
    yield from _content(graph)
    yield from _inputs(graph)
    yield from _code(graph)
    try:
        config = settings_of(graph.results)
    except InputError as error:
        yield Finding(
            "config", graph.shown(graph.results / "config.yaml"), f"settings not compared: {error}"
        )
    else:
        if config:
            yield from _settings(graph, config)
            yield from _forgotten(graph, config)
    yield from _unknown(graph)


def _content(graph: Graph) -> Iterator[Finding]:
    """Yield what is missing, or has another content than when it was written or read."""
    expected = graph.sources(graph.jobs)
    expected |= {path: job.outputs[path] for path, job in graph.maker.items()}
    for path, file in track(sorted(expected.items()), "verify: files", len(expected)):
        name = graph.shown(path)
        if not path.is_file():
            # What is outside need not be kept, or come along with a copy of the results.
            if path.is_relative_to(graph.results):
                maker = graph.maker.get(path)
                by = (
                    f"written by {maker.name}"
                    if maker
                    else f"read by {graph.readers[path][0].name}"
                )
                yield Finding("missing", name, by)
        elif fault := file.fault(path, anew=True):
            yield Finding("changed" if path in graph.maker else "source", name, fault)


def _inputs(graph: Graph) -> Iterator[Finding]:
    """Yield files whose job read another version of a file than the one that was written last."""
    for job in graph.jobs:
        if others := [graph.shown(path) for path in graph.outdated(job)]:
            for path in _own(graph, job):
                yield Finding("stale", graph.shown(path), f"{_some(others)} is newer")


def _own(graph: Graph, job: Job) -> list[Path]:
    """Return the files of a job that no later job has written."""
    return [path for path in job.outputs if graph.maker[path] is job]


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {counted(len(names) - 1, 'other')}"


def _code(graph: Graph) -> Iterator[Finding]:
    """Yield files whose stage has other source code here than it ran."""

    @cache
    def now(module: str) -> str | None:
        path = source_of(module)
        return sha256(path) if path.is_file() else None

    for job in graph.jobs:
        changed = [name for name, then in job.made.modules.items() if now(name) != then]
        if changed:
            for path in _own(graph, job):
                yield Finding("code", graph.shown(path), f"{_some(changed)} has changed")


def _forgotten(graph: Graph, config: Config) -> Iterator[Finding]:
    """Yield what has pages of sources on the list, and what was made without some that are not.

    A list that was edited by hand may lack the links elsewhere that lead to a source.
    """
    path = list_of(graph, config)
    if path is None:  # as where the results alone were copied to
        return
    listed = Forgotten.read(path)
    found: dict[Path, list[str]] = defaultdict(list)
    with suppress(InputError):  # a table that cannot be read is listed as such
        for table, url in pages_of(graph, listed):
            found[table].append(url)
    for table, urls in found.items():
        reason = f"{counted(len(urls), 'page')}, such as {urls[0]}; `snakemake` makes it anew"
        yield Finding("forgotten", graph.shown(table), reason)
    for job in graph.jobs:
        if others := _no_longer_listed(job, listed, config.links.shards):
            reason = f"without {_some(others)}, which {graph.shown(place(path))} does not name"
            for output in _own(graph, job):
                yield Finding("config", graph.shown(output), reason)


def _no_longer_listed(job: Job, listed: Forgotten, shards: int) -> list[str]:
    """Return the entries that a job that they concern has left out, and would not again."""
    then = left_out(job)
    if job.made.command == "merge-links":
        entries = then.of_shard(job.made.parameters["shard"], shards)
    elif job.made.command == "corpus" and job.made.parameters["format"] in WITH_ADDRESSES:
        entries = then.entries
    else:
        return []
    return [entry for entry in entries if not listed.covers(entry)]


def _settings(graph: Graph, config: Config) -> Iterator[Finding]:
    """Yield what was made with other settings, or what the configuration does not ask for."""
    for job in graph.jobs:
        others = list(_other_settings(job, config))
        for output in _own(graph, job) if others else []:
            yield Finding("config", graph.shown(output), "; ".join(others))
    wanted = _wanted(config)
    for output in graph.maker:
        if not output.is_relative_to(graph.results) or not output.is_file():
            continue
        folder, *rest = output.relative_to(graph.results).parts
        if folder in wanted and rest:
            name = rest[0].split(".")[0]
            if name not in wanted[folder] and len(rest) >= (2 if folder == "tables" else 1):
                yield Finding("orphan", graph.shown(output), f"{name} is in no study or section")


def _other_settings(job: Job, config: Config) -> Iterator[str]:
    """Yield the settings in which a job differs from a configuration."""
    if job.made.command == "train":
        return  # its settings are its study's, too, and name the run: see `_wanted`
    for section in SECTIONS.get(job.made.command, ()):
        values: BaseModel = getattr(config, section)
        for key, value in values.model_dump(mode="json").items():
            if key in OTHERWISE:
                continue
            # An option that is not given is one of no entries.
            if key in job.made.parameters and job.made.parameters[key] not in (
                value,
                value or None,
            ):
                yield (
                    f"{section}.{key} = {job.made.parameters[key]}, the configuration has {value}"
                )


def _wanted(config: Config) -> dict[str, set[str]]:
    """Return, by folder of the results, the names that a configuration asks for."""
    shards = {str(shard) for shard in range(config.links.shards)}
    return {
        "runs": set(grid.runs(config)),
        "fits": set(config.fits.laws),
        "figures": set(drawable(list(config.studies), config.fits.laws)),
        "tables": set(config.studies),
        "corpora": set(config.corpora),
        "documents": shards,
        "plan": {"runs", "plan", *config.studies},
    }


def _unknown(graph: Graph) -> Iterator[Finding]:
    """Yield the files among the results that no job has written."""
    for path in graph.strays:
        readers = graph.readers.get(path)
        reason = f"read by {readers[0].name}" if readers else "no manifest names it"
        yield Finding("unknown", graph.shown(path), reason)
    for job in graph.jobs:
        if job.outputs and job.path.is_relative_to(graph.results) and not _own(graph, job):
            later = graph.shown(graph.maker[next(iter(job.outputs))].path)
            reason = f"a manifest of files that {later} describes, too"
            yield Finding("unknown", graph.shown(job.path), reason)


def _print_reasons(path: Path, configfiles: list[Path], as_json: bool) -> None:
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())  # as Snakemake knows it
    found = reasons(path, configfiles)
    changed = changed_before(path)
    own = changed.get(str(path))
    if as_json:
        facts = {"path": str(path), "reasons": found, "changed": own, "changed_before": changed}
        print(json.dumps(facts, indent=2))
        return
    print("\n".join(found) or f"{path}: Snakemake would not make it anew")
    for name, fault in changed.items():
        again = shlex.join(["snakemake", "--cores", "all", *_asking_for(Path(name), configfiles)])
        print(f"{name}: not what its job wrote ({fault}); remove it, and `{again}` makes it anew")


def changed_before(path: Path) -> dict[str, str]:
    """Return how a file, and those that it was made from, differ from what their jobs wrote.

    The file is hashed, the others are looked at as `Graph.altered` does; a missing one is
    Snakemake's to tell.
    """
    here = place(path)
    try:
        graph = Graph(results_of(here))
    except InputError:  # no results yet
        return {}
    if here not in graph.maker:
        return {}
    maker = graph.maker[here]
    fault = maker.outputs[here].fault(here, anew=True)
    found = {here: fault} if fault else {}
    found |= graph.altered(graph.upstream([maker]))
    return {graph.shown(each): fault for each, fault in found.items() if each.exists()}


def _asking_for(path: Path, configfiles: list[Path]) -> list[str]:
    """Return the words that ask Snakemake for a file by some overlays."""
    return [*(["--configfile", *map(str, configfiles)] if configfiles else []), "--", str(path)]


def reasons(path: Path, configfiles: list[Path]) -> list[str]:
    """Return why Snakemake would make a file anew, by a dry run: a line a job, none for not.

    Jobs of one rule that have the same reason stand in one line.

    Raises:
        InputError: It cannot tell: no Snakefile here, or no rule makes the file.
    """
    for file in configfiles:
        if not file.is_file():
            raise InputError(f"--configfile {file}: no such file")
    words = ["snakemake", "--dry-run", "--quiet", "host", *_asking_for(path, configfiles)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError("snakemake: no such command; install the project's packages") from None
    output = done.stdout + done.stderr
    if done.returncode:
        if "MissingRuleException" in output:
            raise InputError(f"{path}: no rule of the workflow here makes it")
        said = [line.strip() for line in output.splitlines() if line.strip()]
        raise InputError(f"{shlex.join(words)}: {' '.join(said[-3:])}")
    jobs: dict[str, list[str]] = defaultdict(list)
    job = ""
    for line in output.splitlines():
        word, _, rest = line.strip().partition(": ")
        if word.startswith("Job "):
            job = rest
        elif word == "Reason":
            jobs[rest].append(job)
    return [f"{_among(names)}: {reason}" for reason, names in jobs.items()]


def _among(names: list[str]) -> str:
    distinct = list(dict.fromkeys(names))
    more = len(distinct) - NAMES
    return "; ".join(distinct[:NAMES]) + (f"; and {more} more jobs" if more > 0 else "")
