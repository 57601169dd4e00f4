"""`scaling-laws lineage`: all manifests of a results folder as one page to look through."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from os.path import relpath
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scaling_laws.ledger import place
from scaling_laws.lineage.drawing import HEIGHT, WIDTH, draw
from scaling_laws.lineage.graph import Graph, Job
from scaling_laws.lineage.manifest import File
from scaling_laws.lineage.stages import (
    Edge,
    Stage,
    edges_of,
    layers_of,
    seconds_of,
    stages_of,
    without_shortcuts,
)
from scaling_laws.lineage.trace import size_of
from scaling_laws.output import atomic
from scaling_laws.report.times import duration
from scaling_laws.templates import environment

# How much of a stage with many jobs, a job with many files or a long parameter is shown. The
# manifests have the rest.
ROWS, OPENED, FILES, LETTERS = 500, 10, 10, 160


def lineage(results: Path = Path("results"), *, output: Path) -> None:
    """Write a page of what made what: the stages, their jobs, and what each job's manifest says.

    The page shows all that it needs without a network. Of a stage with many jobs some are shown in
    full; each leads to its manifest by a relative link, so keep the page where it was written.

    Args:
        results: Folder of the results, or one in it.
        output: HTML file to write.

    Raises:
        InputError: When there are no manifests.
    """
    page = Page(Graph(results), output).html()
    with atomic(output) as partial:
        partial.write_text(page, encoding="utf-8")


class Page:
    """What the page shows, with links from where it will lie."""

    def __init__(self, graph: Graph, output: Path) -> None:
        """Prepare a page.

        Args:
            graph: The results.
            output: Where the page will be written.
        """
        self._graph = graph
        self._folder = place(output).parent
        # Commit, packages and machine, which many jobs share, by their JSON.
        self._environments: dict[str, dict[str, Any]] = {}

    def html(self) -> str:
        """Return the page."""
        graph = self._graph
        stages, edges = stages_of(graph), edges_of(graph)
        layers = layers_of(stages, edges)
        sources = graph.sources(graph.jobs)
        return (
            environment("scaling_laws.lineage")
            .get_template("page.html.jinja")
            .render(
                name=graph.results.name,
                jobs=len(graph.jobs),
                files=sum(stage.files for stage in stages.values()),
                bytes=sum(stage.bytes for stage in stages.values()),
                seconds=sum(map(seconds_of, graph.jobs)),
                drawing=draw(layers, without_shortcuts(layers, edges)),
                box={"width": WIDTH, "height": HEIGHT},
                edges=edges,
                by_name=stages,
                stages=[self._stage(stages[name], edges) for layer in layers for name in layer],
                environments=list(self._environments.values()),
                sources=[self._file(path, file) for path, file in sorted(sources.items())],
                damaged={self._name(path): reason for path, reason in graph.damaged.items()},
                size=size_of,
                duration=duration,
            )
        )

    def _stage(self, stage: Stage, edges: Mapping[tuple[str, str], Edge]) -> dict[str, Any]:
        """Return what is shown of a stage."""
        codes = [job.made.modules for job in stage.jobs]
        return {
            "name": stage.name,
            "count": len(stage.jobs),
            "files": stage.files,
            "bytes": stage.bytes,
            "seconds": sum(map(seconds_of, stage.jobs)),
            "memory": max(job.made.peak_memory for job in stage.jobs),
            "reads": {start: edge for (start, end), edge in edges.items() if end == stage.name},
            "read_by": {end: edge for (start, end), edge in edges.items() if start == stage.name},
            "sources": len(self._graph.sources(stage.jobs)),
            "rows": [self._row(job) for job in islice(stage.jobs, ROWS)],
            "full": [self._full(job) for job in islice(stage.jobs, OPENED)],
            "modules": codes[-1],
            "codes": len({json.dumps(code) for code in codes}),
        }

    def _row(self, job: Job) -> dict[str, Any]:
        """Return what is shown of a job in the table of its stage."""
        made = job.made
        return {
            "subject": job.subject,
            "manifest": self._link(job.path),
            "files": len(job.outputs),
            "bytes": sum(file.bytes for file in job.outputs.values()),
            "started": made.started[:19].replace("T", " "),
            "seconds": seconds_of(job),
            "memory": made.peak_memory,
            "environment": self._environment(job),
        }

    def _full(self, job: Job) -> dict[str, Any]:
        """Return the rest of what a manifest says."""
        made = job.made
        return {
            "subject": job.subject,
            "manifest": self._link(job.path),
            "call": made.call,
            "seed": made.seed,
            "parameters": {key: _short(value) for key, value in made.parameters.items()},
            "statistics": {key: _short(value) for key, value in made.statistics.items()},
            "files": {"Read": self._files(job.inputs), "Written": self._files(job.outputs)},
        }

    def _environment(self, job: Job) -> int:
        """Return the number of the code, packages and machine that a job ran with."""
        facts = job.made.model_dump(include={"commit", "clean", "packages", "host"})
        known = self._environments.setdefault(
            json.dumps(facts, sort_keys=True),
            facts | {"number": len(self._environments) + 1, "count": 0},
        )
        known["count"] += 1
        return int(known["number"])

    def _files(self, files: Mapping[Path, File]) -> dict[str, Any]:
        shown = [self._file(path, file) for path, file in islice(files.items(), FILES)]
        return {"shown": shown, "more": len(files) - len(shown)}

    def _file(self, path: Path, file: File) -> dict[str, Any]:
        """Return a file with a link to it, where it is still there."""
        link = self._link(path) if path.is_file() else None
        return {
            "name": self._name(path),
            "link": link,
            "bytes": file.bytes,
            "sha256": file.sha256,
        }

    def _name(self, path: Path) -> str:
        """Return a path as it is wherever the results are: from the folder that they lie in."""
        home = self._graph.results.parent
        return str(path.relative_to(home) if path.is_relative_to(home) else path)

    def _link(self, path: Path) -> str:
        return quote(relpath(path, self._folder))


def _short(value: object) -> str:
    """Return a parameter as text, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LETTERS else f"{text[:LETTERS]}…"
