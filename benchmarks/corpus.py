"""Speed and memory of the corpus stages, each against a ceiling or a peer in the same run.

Usage: python benchmarks/corpus.py [PAGE]

Prints the measurements and writes them to a section of PAGE. Exit code 1 when a bar is missed.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import crawl
import dedup
import encode
import extract
import links
import report
from bars import Bar

PEERS = ("aiohttp", "datasketch", "newspaper3k", "orjson", "tokenizers", "zstandard")


def main() -> int:
    """Measure all stages, report, and return the exit code."""
    bars: list[Bar] = []
    for benchmark in (links, crawl, extract, dedup, encode):
        print(f"measuring {benchmark.__name__} ...", file=sys.stderr)
        # In a process of its own, so that none counts or waits for what another has left running.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            bars += process.submit(benchmark.measure).result()
    return report.conclude(bars, sys.argv[1:], "Corpus stages", PEERS)


if __name__ == "__main__":
    sys.exit(main())
