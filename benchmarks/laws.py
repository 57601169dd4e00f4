"""A full fit of a five-parameter law, ours against one scipy call for each start and replicate.

Usage: python benchmarks/laws.py [PAGE]

Both fit Chinchilla's law to the same 240 points with Huber's function, from the same 200 starts,
and to the same 1,000 bootstrap replicates from the best of them. The other calls
`scipy.optimize.minimize(method="L-BFGS-B")` each time, with gradients that scipy takes by
differences, in the same coordinates (sizes and tokens from their mean, without which it takes
longer) and with the objective scaled so that its tolerance bites; a part of the starts and
replicates stands for all of them. CPU seconds, in turns, one thread; the ratio is the median. Says
as well how many of its calls end within a millionth of the minimum that is ours. Exit code 1 when
the bar is missed.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sys
from statistics import median

import numpy as np
from scipy.optimize import minimize

import report
from bars import Bar, cpu_seconds
from scaling_laws.laws.estimate import Points, resample
from scaling_laws.laws.forms import LAWS
from scaling_laws.laws.minimise import Objective, minimise
from scaling_laws.laws.problem import Array

TURNS = 3
STARTS, REPLICATES = 200, 1000
PART = 20  # of either, by scipy in each turn
BAR = 50.0
HUBER = Objective("huber", 1e-3)
REACHED = 1e-6  # relative
CONSTANTS = {"A": 482.01, "B": 2085.43, "E": 1.8172, "alpha": 0.3478, "beta": 0.3658}
SEED = 0


def sample() -> Points:
    """Return 240 runs of 16 sizes and 15 lengths, with errors of one percent and some outliers."""
    generator = np.random.default_rng(SEED)
    N, D = (
        axis.ravel()
        for axis in np.meshgrid(np.geomspace(5e7, 2e10, 16), np.geomspace(1e9, 1e12, 15))
    )
    errors = 0.01 * generator.standard_t(3, size=240)
    loss = LAWS["chinchilla"](CONSTANTS, N=N, D=D) * np.exp(errors)
    return Points({"N": N, "D": D}, loss, np.arange(240), np.ones(240))


def by_scipy(points: Points, weights: Array, start: Array) -> float:
    """Return the objective at which scipy ends; coordinates alpha, beta, ln A, ln B, ln E."""
    log_N, log_D = (logs - logs.mean() for logs in points.log_x().values())
    logs = np.log(points.y)

    def objective(theta: Array) -> float:
        alpha, beta, a, b, e = theta
        loss = np.exp(a - alpha * log_N) + np.exp(b - beta * log_D) + np.exp(e)
        residual = np.abs(np.log(loss) - logs) / HUBER.delta
        huber = np.where(residual < 1, 0.5 * residual**2, residual - 0.5)
        return float(weights @ huber)

    options = {"maxiter": 2000, "maxfun": 20000, "ftol": 1e-12, "gtol": 1e-6}
    found = minimize(objective, start, method="L-BFGS-B", options=options)
    return float(found.fun) * HUBER.delta**2


def measure() -> Bar:
    """Return the measured ratio."""
    points = sample()
    problem = LAWS["chinchilla"].structure.at(points.log_x())
    problem.bound(points.y)
    starts = problem.starts(STARTS, points.y)
    weights = resample(points, REPLICATES, SEED).weights
    ratios, reached, ours_seconds, theirs_seconds = [], [], [], []
    for turn in range(TURNS):
        begin = cpu_seconds()
        solution = minimise(problem, points.y, points.weights, starts, HUBER)
        best = solution.theta[[int(np.argmin(solution.objective))]]
        again = np.repeat(best, REPLICATES, axis=0)
        replicates = minimise(problem, points.y, weights, again, HUBER, warm=True)
        ours = cpu_seconds() - begin
        least = float(solution.objective.min())

        some = range(turn * PART, (turn + 1) * PART)
        begin = cpu_seconds()
        from_starts = [by_scipy(points, points.weights, starts[k]) for k in some]
        per_start = (cpu_seconds() - begin) / PART
        begin = cpu_seconds()
        from_best = [by_scipy(points, weights[k], best[0]) for k in some]
        per_replicate = (cpu_seconds() - begin) / PART
        theirs = STARTS * per_start + REPLICATES * per_replicate
        reached += [end <= least * (1 + REACHED) for end in from_starts]
        reached += [
            end <= replicates.objective[k] * (1 + REACHED)
            for k, end in zip(some, from_best, strict=True)
        ]
        ratios.append(theirs / ours)
        ours_seconds.append(ours)
        theirs_seconds.append(theirs)
    agreeing = int((solution.objective <= least * (1 + REACHED)).sum())
    detail = (
        f"{median(ours_seconds):.2f} s of ours, {median(theirs_seconds):.0f} s of scipy's; the "
        f"minimum is reached by {agreeing} of {STARTS} starts and "
        f"{int(replicates.converged.sum())} of {REPLICATES} replicates of ours, and by "
        f"{sum(reached)} of {len(reached)} calls of scipy"
    )
    what = "fits per CPU second, of scipy's L-BFGS-B: 5 parameters, 240 points"
    return Bar("fit", what, median(ratios), f">= {BAR:g}", median(ratios) >= BAR, detail)


def main() -> int:
    """Measure, report, and return the exit code."""
    return report.conclude([measure()], sys.argv[1:], "Fits of the laws", ("numpy", "scipy"))


if __name__ == "__main__":
    sys.exit(main())
