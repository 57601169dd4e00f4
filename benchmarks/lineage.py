"""What manifests cost: the jobs of a finished workflow, run again with them and without.

Usage: python benchmarks/lineage.py RESULTS [PAGE]

Of each rule the job of median length is run again by the command in its manifest, with the options
that ask for a manifest and without, in turns, in a copy of the results; it stands for all jobs of
its rule. CPU seconds, child processes included, in which a crawl's waiting counts for nothing: of
wall time manifests take less. RESULTS lie where the workflow ran, beside what it downloaded. Exit
code 1 when the bar is missed.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import report
from bars import Bar, cpu_seconds
from scaling_laws.ledger import place
from scaling_laws.lineage.graph import Graph
from scaling_laws.lineage.stages import seconds_of, stages_of
from scaling_laws.progress import track

TURNS = 3
BAR = 1.03


def without_manifest(words: Sequence[str]) -> list[str]:
    """Return a command without the options that ask for its manifest."""
    rest = list(words)
    for option in ("--lineage", "--rule"):
        at = rest.index(option)
        del rest[at : at + 2]
    return rest


def seconds(words: Sequence[str], folder: Path, written: Sequence[Path]) -> float:
    """Return the CPU seconds of a command that starts without what it has written before."""
    for path in written:
        path.unlink(missing_ok=True)
        for journal in path.parent.glob(".*"):  # from which a crawl would go on
            journal.unlink()
    begin = cpu_seconds()
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return cpu_seconds() - begin


def measure(results: Path) -> Bar:
    """Return the measured ratio."""
    graph = Graph(results)
    with_them, without = 0.0, 0.0
    worst = ("", 0.0)
    count = 0
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
            before, after = (median(each) for each in zip(*times, strict=True))
            with_them += after * len(stage.jobs)
            without += before * len(stage.jobs)
            count += len(stage.jobs)
            worst = max(worst, (stage.name, after - before), key=lambda each: each[1])
    ratio = with_them / without
    detail = (
        f"{count} jobs of {len(stages)} rules: {with_them:.0f} s with, {without:.0f} s without; "
        f"the most is {1000 * worst[1]:.0f} ms a job of {worst[0]}"
    )
    what = "CPU seconds of a workflow with manifests, of those without"
    return Bar("--lineage", what, ratio, f"<= {BAR:g}", ratio <= BAR, detail)


def main() -> int:
    """Measure, report, and return the exit code."""
    bar = measure(place(Path(sys.argv[1])))
    return report.conclude([bar], sys.argv[2:], "Manifests", ("pydantic", "grimp"))


if __name__ == "__main__":
    sys.exit(main())
