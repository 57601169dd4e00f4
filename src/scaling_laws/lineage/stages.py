"""A graph of jobs in short: the jobs of a rule as one stage, and what flows between stages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from scaling_laws.lineage.graph import Graph, Job


class Stage(NamedTuple):
    """The jobs of one rule.

    Attributes:
        name: The rule, or the command of jobs that no rule gave.
        jobs: Its jobs, in the order in which they ended.
        files: How many files they wrote.
        bytes: The size of these.
    """

    name: str
    jobs: list[Job]
    files: int
    bytes: int


class Edge(NamedTuple):
    """What jobs of one stage read of what jobs of another wrote, each file counted once."""

    files: int
    bytes: int


def stages_of(graph: Graph) -> dict[str, Stage]:
    """Return the stages by name, in the order in which their first jobs ended."""
    jobs: dict[str, list[Job]] = {}
    for job in graph.jobs:
        jobs.setdefault(job.name, []).append(job)
    return {
        name: Stage(
            name,
            group,
            sum(len(job.outputs) for job in group),
            sum(file.bytes for job in group for file in job.outputs.values()),
        )
        for name, group in jobs.items()
    }


def seconds_of(job: Job) -> float:
    """Return how long a job took, to the second."""
    ended, started = (datetime.fromisoformat(text) for text in (job.made.ended, job.made.started))
    return (ended - started).total_seconds()


def edges_of(graph: Graph) -> dict[tuple[str, str], Edge]:
    """Return what flows from one stage to another, by the names of both."""
    flows: dict[tuple[str, str], dict[object, int]] = {}
    for path, readers in graph.readers.items():
        if path in graph.maker:
            maker = graph.maker[path]
            for name in {reader.name for reader in readers} - {maker.name}:
                flows.setdefault((maker.name, name), {})[path] = maker.outputs[path].bytes
    return {ends: Edge(len(sizes), sum(sizes.values())) for ends, sizes in flows.items()}


def layers_of(
    stages: Mapping[str, object], edges: Mapping[tuple[str, str], object]
) -> list[list[str]]:
    """Return stages in the order of the flow: each in a layer below all that it reads from.

    A stage that reads from no other stands just above the first that reads from it. Where stages
    read from each other, as after a rerun of a part, the way back counts for nothing.
    """
    before = {name: {a for a, b in edges if b == name} for name in stages}
    after = {name: {b for a, b in edges if a == name} for name in stages}
    depth: dict[str, int] = {}

    def settle(name: str, above: frozenset[str]) -> int:
        if name not in depth:
            further = before[name] - above
            below = (settle(each, above | {name}) for each in sorted(further))
            depth[name] = 1 + max(below, default=-1)
        return depth[name]

    for name in stages:
        settle(name, frozenset({name}))
    for name in stages:
        if not before[name] and after[name]:
            depth[name] = max(min(depth[each] for each in after[name]) - 1, 0)
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in stages:
        layers[depth[name]].append(name)
    return [layer for layer in layers if layer]


def without_shortcuts(
    layers: list[list[str]], edges: Mapping[tuple[str, str], object]
) -> list[tuple[str, str]]:
    """Return the edges down the layers that no longer way implies: the transitive reduction."""
    depth = {name: number for number, layer in enumerate(layers) for name in layer}
    down = sorted(
        (ends for ends in edges if depth[ends[0]] < depth[ends[1]]),
        key=lambda ends: (-depth[ends[0]], ends),
    )
    reached: dict[str, set[str]] = {name: set() for name in depth}
    kept = []
    # From the last layer up, and of one stage's edges the nearest first.
    for name in sorted(depth, key=lambda each: -depth[each]):
        for end in sorted((b for a, b in down if a == name), key=lambda each: (depth[each], each)):
            if end not in reached[name]:
                kept.append((name, end))
                reached[name] |= {end, *reached[end]}
    return kept
