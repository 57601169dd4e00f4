"""What manifests cost: the jobs of a finished workflow, run again with them and without.

Usage: python benchmarks/lineage.py RESULTS [PAGE]

Of each rule the job of median length is run again by the command in its manifest, with the options
that ask for a manifest and without, in turns, in a copy of the results; it stands for all jobs of
its rule. Wall seconds are of jobs one after the other; CPU seconds, child processes included, leave
out a crawl's waiting. RESULTS lie where the workflow ran, beside what it downloaded. Exit code 1
when a bar is missed.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import report
from bars import Bar, cpu_seconds
from scaling_laws.ledger import place
from scaling_laws.lineage.graph import Graph
from scaling_laws.lineage.stages import seconds_of, stages_of
from scaling_laws.progress import track

TURNS = 3
BAR = 1.03


class Seconds(NamedTuple):
    """How long a command took."""

    wall: float
    CPU: float


def without_manifest(words: Sequence[str]) -> list[str]:
    """Return a command without the options that ask for its manifest."""
    rest = list(words)
    for option in ("--lineage", "--rule"):
        at = rest.index(option)
        del rest[at : at + 2]
    return rest


def seconds(words: Sequence[str], folder: Path, written: Sequence[Path]) -> Seconds:
    """Return the wall and CPU seconds of a command that starts without what it has written."""
    for path in written:
        path.unlink(missing_ok=True)
        for journal in path.parent.glob(".*"):  # from which a crawl would go on
            journal.unlink()
    wall, cpu = time.perf_counter(), cpu_seconds()
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return Seconds(time.perf_counter() - wall, cpu_seconds() - cpu)


def measure(results: Path) -> list[Bar]:
    """Return the measured ratios."""
    graph = Graph(results)
    jobs, before, after = [], [], []  # of each rule: how many, and the median job's seconds
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for beside in ("resources", "src"):
            (folder / beside).symlink_to(graph.results.parent / beside)
        copy = folder / graph.results.name
        shutil.copytree(graph.results, copy, ignore=shutil.ignore_patterns(".*"))
        stages = [
            stage
            for stage in stages_of(graph).values()
            if all(job.path.is_relative_to(graph.results) for job in stage.jobs)
        ]
        for stage in track(stages, "lineage: rules", len(stages)):
            job = sorted(stage.jobs, key=seconds_of)[len(stage.jobs) // 2]
            words = shlex.split(job.made.call)
            plain = without_manifest(words)
            written = [copy / path.relative_to(graph.results) for path in (*job.outputs, job.path)]
            times = [
                (seconds(plain, folder, written), seconds(words, folder, written))
                for _ in range(TURNS)
            ]
            jobs.append(len(stage.jobs))
            for medians, turns in zip((before, after), zip(*times, strict=True), strict=True):
                medians.append(Seconds(*map(median, zip(*turns, strict=True))))
    return [bar(jobs, before, after, kind) for kind in Seconds._fields]


def bar(jobs: Sequence[int], before: Sequence[Seconds], after: Sequence[Seconds], kind: str) -> Bar:
    """Return the bar of wall or CPU seconds, over all jobs of all rules."""
    without, with_them = (
        sum(count * getattr(each, kind) for count, each in zip(jobs, medians, strict=True))
        for medians in (before, after)
    )
    ratio = with_them / without
    return Bar(
        "--lineage",
        f"{kind} seconds of a workflow with manifests, of those without",
        ratio,
        f"<= {BAR:g}",
        ratio <= BAR,
        f"{sum(jobs)} jobs of {len(jobs)} rules: {with_them:.0f} s with, {without:.0f} s without",
    )


def main() -> int:
    """Measure, report, and return the exit code."""
    bars = measure(place(Path(sys.argv[1])))
    return report.conclude(bars, sys.argv[2:], "Manifests", ("pydantic", "grimp"))


if __name__ == "__main__":
    sys.exit(main())
