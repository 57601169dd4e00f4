"""Speed and memory of the corpus stages, each against a ceiling or a peer in the same run.

Usage: python benchmarks/corpus.py [REPORT]

Prints the measurements and writes them to REPORT as Markdown. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import platform
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import crawl
import dedup
import encode
import extract
import links
from bars import Bar, show

PEERS = ("aiohttp", "datasketch", "newspaper3k", "orjson", "tokenizers", "zstandard")

HEAD = """\
# Speed and memory of the corpus stages

Written by `make bench-corpus`; do not edit. Each rate is divided by that of its ceiling or peer on
the same input in the same run: CPU seconds, child processes included, medians of interleaved
repeats. How each is measured stands at the top of its file in [benchmarks/](../benchmarks).
Absolute rates are of the machine below, and only there to give an idea.

"""


def main() -> int:
    """Measure all stages, report, and return the exit code."""
    bars: list[Bar] = []
    for benchmark in (links, crawl, extract, dedup, encode):
        print(f"measuring {benchmark.__name__} ...", file=sys.stderr)
        # In a process of its own, so that none counts or waits for what another has left running.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            bars += process.submit(benchmark.measure).result()
    show(bars)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(markdown(bars))
    return 0 if all(bar.met for bar in bars) else 1


def markdown(bars: list[Bar]) -> str:
    """Return the page with all measurements."""
    table = ["| command | what | measured | bar | met | behind it |", "|---|---|---|---|---|---|"]
    for bar in bars:
        met = "yes" if bar.met else "no"
        measured = f"{bar.value:.3g} | {bar.bar} | {met} | {bar.detail}"
        table.append(f"| `{bar.stage}` | {bar.what} | {measured} |")
    peers = ", ".join(f"{name} {version(name)}" for name in PEERS)
    machine = f"{processor()}, Python {platform.python_version()}, {peers}"
    return HEAD + "\n".join(table) + f"\n\nMeasured on {machine}.\n"


def processor() -> str:
    """Return the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1] if found else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
