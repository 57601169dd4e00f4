"""The best size for compute from runs of equal compute (Hoffmann et al. 2022, approach 2).

Runs of one budget at several sizes: a parabola of the log loss in log N, whose lowest point is the
best size. Parabolae lean: the true curve is steeper on one side (Czech et al. 2026 find a bias of
some percent where sizes span 16 times either way), so narrow spans are better than wide ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from scaling_laws.errors import TooFewRunsError
from scaling_laws.laws.estimate import Resamples
from scaling_laws.laws.forms import Law
from scaling_laws.laws.points import Exclusion, Sample, make_sample
from scaling_laws.laws.problem import Array

FEWEST_SIZES = 4  # a parabola through three has no errors
SAME = 0.1  # of compute, between runs of one budget


def isoflop(
    law: Law,
    frame: pd.DataFrame,
    where: str,
    excluded: Sequence[Exclusion],
    inputs: list[str],
    noise: float = 0.0,
) -> Sample:
    """Return the best size for each budget.

    Replicates move every loss by the scatter about the parabolae, or by the noise of seeds where
    that is larger: to leave sizes out would shift a lowest point that leans (Porian et al. 2024
    inject noise, too). A budget counts in those in which its parabola opens upward and has its
    lowest point among the sizes.

    Args:
        law: N_opt against C.
        frame: `run`, N, C in the unit of the law, and L of each run.
        where: Where they are from.
        excluded: What was left out before.
        inputs: Files.
        noise: Standard deviation of log losses between seeds.

    Raises:
        TooFewRunsError: When fewer than two budgets have a lowest point.
    """
    frame = frame.sort_values("C", ignore_index=True)
    log_C = np.log(frame["C"].to_numpy(dtype=float))
    budget = np.concatenate([[0], np.cumsum(np.diff(log_C) > SAME)]).astype(np.int64)
    left_out = list(excluded)
    groups = []
    for number in np.unique(budget):
        rows = np.flatnonzero(budget == number)
        if frame["N"].iloc[rows].nunique() < FEWEST_SIZES:
            reason = f"fewer than {FEWEST_SIZES} sizes of its compute"
            left_out += [{"run": str(run), "reason": reason} for run in frame["run"].iloc[rows]]
        else:
            groups.append(rows)
    if not groups:
        raise TooFewRunsError(
            f"{where}: {law.name} needs {FEWEST_SIZES} sizes or more of about the same compute; "
            "found none"
        )
    log_N = np.log(frame["N"].to_numpy(dtype=float))
    log_L = np.log(frame["L"].to_numpy(dtype=float))
    best = np.array([_lowest(log_N[rows], log_L[rows][None])[0] for rows in groups])
    C = np.array([np.exp(log_C[rows].mean()) for rows in groups])
    on = np.isfinite(best)
    found = pd.DataFrame({"C": C, "N_opt": np.exp(best)})[on].reset_index(drop=True)
    found.insert(0, "run", [f"budget {place}" for place in found.index + 1])
    outside = int((~on).sum())
    sample = make_sample(
        law, found, where, left_out, inputs, notes={"budgets_without_lowest_point": outside}
    )
    kept = [rows for rows, there in zip(groups, on, strict=True) if there]
    spread = max(noise, _scatter([(log_N[rows], log_L[rows]) for rows in kept]))
    sample.notes["scatter"] = spread

    def redraw(number: int, seed: int) -> Resamples:
        generator = np.random.default_rng(seed)
        parts = []
        for rows in kept:
            moved = log_L[rows] + spread * generator.standard_normal((number, len(rows)))
            parts.append(_lowest(log_N[rows], moved))
        drawn = np.stack(parts, axis=1)
        there = np.isfinite(drawn)
        return Resamples(there.astype(float), np.exp(np.where(there, drawn, 0.0)))

    return replace(sample, redraw=redraw)


def _scatter(groups: Sequence[tuple[Array, Array]]) -> float:
    """Return the standard deviation of log losses about the parabolae of their budgets."""
    squares, free = 0.0, 0
    for log_N, log_L in groups:
        parabola = np.polyfit(log_N - log_N.mean(), log_L, 2)
        squares += float(((np.polyval(parabola, log_N - log_N.mean()) - log_L) ** 2).sum())
        free += len(log_N) - 3
    return float(np.sqrt(squares / free)) if free > 0 else 0.0


def _lowest(log_N: Array, log_L: Array) -> Array:
    """Return where parabolae are lowest, NaN where that is not among the sizes.

    Args:
        log_N: Shape (runs,).
        log_L: Shape (rows, runs).
    """
    centre = log_N.mean()
    bend, slope, _ = np.polyfit(log_N - centre, log_L.T, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        place = centre - slope / (2 * bend)
    inside = (bend > 0) & (log_N.min() < place) & (place < log_N.max())
    return np.where(inside, place, np.nan)
