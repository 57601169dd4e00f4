"""How often an interval of 95 % holds a planted constant, for every law.

Usage: python benchmarks/coverage.py [PAGE]

Each law is planted at the paper's constants on a grid such as a study would have
(scaling_laws/laws/planted.py), with errors of half a percent, a hundred times over, and fitted with
its bootstrap and its profiles. Prints for each constant in how many of the hundred each interval
held it, and writes the table to PAGE. Exit code 1 when one is held fewer than 90 or more than 99
times by the bootstrap.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd

from scaling_laws.laws import planted
from scaling_laws.laws.estimate import Interval, estimate, resample
from scaling_laws.laws.forms import LAWS
from scaling_laws.laws.minimise import Objective
from scaling_laws.progress import track

REPETITIONS = 100
REPLICATES = 400
NOISE = 0.005
FEWEST, MOST = 90, 99
HEAD = """\
# Coverage

Written by `make coverage`; do not edit. Of a hundred studies that were never trained, planted at
the paper's constants with errors of half a percent, in how many the interval of 95 % held each
constant, and in how many the fit converged. A hundred draws of 95 % scatter from 90 to 99 in all
but three of a hundred cases. A constant below zero has no profile.

"""


def repetition(job: tuple[str, int]) -> list[dict[str, object]]:
    """Return for each constant of a law whether its intervals held it."""
    name, seed = job
    law = LAWS[name]
    points = planted.planted(name, NOISE, seed)
    goal = Objective("ols", space="linear" if name == "LR_N" else "log")
    found = estimate(law, points, resample(points, REPLICATES, seed), objective=goal)
    nothing = Interval(None, None)
    return [
        {
            "law": name,
            "points": len(points.y),
            "constant": constant,
            "planted": value,
            "bootstrap": _holds(found.percentile.get(constant, nothing), value),
            "profile": _holds(found.profile.get(constant, nothing), value),
            "converged": found.status == "converged",
        }
        for constant, value in planted.constants(law).items()
    ]


def _holds(interval: Interval, value: float) -> bool:
    if interval.low is None or interval.high is None:
        return False
    return interval.low <= value <= interval.high


def main() -> int:
    """Count, print and write, and return the exit code."""
    wanted = [(name, seed) for name in LAWS for seed in range(REPETITIONS)]
    with ProcessPoolExecutor() as pool:
        found = list(track(pool.map(repetition, wanted, chunksize=5), "fits", len(wanted)))
    rows = pd.DataFrame([row for part in found for row in part])
    keys = ["law", "points", "constant", "planted"]
    counts = ["bootstrap", "profile", "converged"]
    table = rows.groupby(keys, sort=False)[counts].sum().reset_index()
    table["profile"] = [
        str(held) if value > 0 else "–"
        for held, value in zip(table["profile"], table["planted"], strict=True)
    ]
    table["planted"] = [f"{value:.4g}" for value in table["planted"]]
    print(table.to_string(index=False))
    inside = table["bootstrap"].between(FEWEST, MOST)
    print(
        f"{inside.sum()} of {len(table)} constants held {FEWEST} to {MOST} times by the bootstrap"
    )
    if len(sys.argv) > 1:
        lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy()]
        body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        Path(sys.argv[1]).write_text(HEAD + body)
    return 0 if inside.all() else 1


if __name__ == "__main__":
    sys.exit(main())
