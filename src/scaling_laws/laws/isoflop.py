"""The best size for compute from runs of equal compute (Hoffmann et al. 2022, approach 2).

Runs of one budget at several sizes: a parabola of the log loss in log N, whose lowest point is the
best size. Parabolae lean: the true curve is steeper on one side (Czech et al. 2026 find a bias of
some percent where sizes span 16 times either way), so narrow spans are better than wide ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling_laws.errors import InputError
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

    Replicates draw runs, and move the losses of each by the noise of seeds; a budget counts in
    those in which its parabola opens upward and has its lowest point among the sizes.

    Args:
        law: N_opt against C.
        frame: `run`, N, C in the unit of the law, and L of each run.
        where: Where they are from.
        excluded: What was left out before.
        inputs: Files.
        noise: Standard deviation of log losses between seeds.

    Raises:
        InputError: When fewer than two budgets have a lowest point.
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
        raise InputError(
            f"{where}: {law.name} needs {FEWEST_SIZES} sizes or more of about the same compute; "
            "found none"
        )
    log_N = np.log(frame["N"].to_numpy(dtype=float))
    log_L = np.log(frame["L"].to_numpy(dtype=float))
    everything = np.ones((1, len(frame)))
    best = np.array(
        [_lowest(log_N[rows], log_L[rows][None], everything[:, rows])[0] for rows in groups]
    )
    C = np.array([np.exp(log_C[rows].mean()) for rows in groups])
    on = np.isfinite(best)
    found = pd.DataFrame({"C": C, "N_opt": np.exp(best)})[on].reset_index(drop=True)
    found.insert(0, "run", [f"budget {place}" for place in found.index + 1])
    outside = int((~on).sum())
    sample = make_sample(
        law, found, where, left_out, inputs, notes={"budgets_without_lowest_point": outside}
    )
    kept = [rows for rows, there in zip(groups, on, strict=True) if there]

    def redraw(number: int, seed: int) -> Resamples:
        generator = np.random.default_rng(seed)
        parts = []
        for rows in kept:
            size = len(rows)
            counts = generator.multinomial(size, np.full(size, 1 / size), size=number)
            moved = log_L[rows] + noise * generator.standard_normal((number, size))
            parts.append(_lowest(log_N[rows], moved, counts.astype(float)))
        drawn = np.stack(parts, axis=1)
        there = np.isfinite(drawn)
        return Resamples(there.astype(float), np.exp(np.where(there, drawn, 0.0)))

    points = replace(sample.points, behind=sum(map(len, kept)))
    return replace(sample, points=points, redraw=redraw)


def _lowest(log_N: Array, log_L: Array, weights: Array) -> Array:
    """Return where parabolae are lowest, NaN where that is not among the sizes.

    Args:
        log_N: Shape (runs,).
        log_L: Shape (rows, runs).
        weights: Shape (rows, runs).
    """
    centre = log_N.mean()
    powers = np.stack([(log_N - centre) ** power for power in range(3)])
    left = np.einsum("rn,in,jn->rij", weights, powers, powers)
    right = np.einsum("rn,in,rn->ri", weights, powers, log_L)
    lowest = np.full(len(weights), np.nan)
    sound: npt.NDArray[np.bool_] = np.linalg.cond(left) < 1e10
    if sound.any():
        _, slope, bend = np.linalg.solve(left[sound], right[sound][:, :, None])[:, :, 0].T
        with np.errstate(divide="ignore", invalid="ignore"):
            place = centre - slope / (2 * bend)
        inside = (bend > 0) & (log_N.min() < place) & (place < log_N.max())
        lowest[sound] = np.where(inside, place, np.nan)
    return lowest
