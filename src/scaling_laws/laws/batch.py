"""The critical batch size from batch scans (section 5.1), and from the gradient noise scale.

At one loss the steps of each batch, with the best of its learning rates, lie on a hyperbola
S = S_min + E_min / B (eq. 5.1 with E = B S); B_crit = E_min / S_min (eq. 5.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling_laws.errors import InputError, TooFewRunsError
from scaling_laws.laws.estimate import Estimate, Points, Resamples, estimate, resample
from scaling_laws.laws.forms import LAWS, Law
from scaling_laws.laws.points import (
    CURVE_COLUMNS,
    RUN_COLUMNS,
    Exclusion,
    Rules,
    Sample,
    join,
    make_sample,
    read_studies,
    seed_noise,
)
from scaling_laws.laws.problem import Array
from scaling_laws.tables import read_table
from scaling_laws.training.moments import noise_scale

FEWEST_BATCHES = 3
LEVELS = 12  # losses at which the batches of a model are compared
WEIGHING = 200  # replicates that tell how well each hyperbola is known
LARGEST_WEIGHT = 25.0  # over the smallest
NORMS = ("grad_sq_small", "grad_sq_big", "grad_tokens_small")


class Scan(NamedTuple):
    """Learning curves of one model at several batches and learning rates.

    Attributes:
        N: Parameters.
        run: Names of the runs.
        B: Their batches in tokens, shape (runs,).
        log_steps: Of each run, logarithms of the steps of its evaluations.
        least: Of each run, logarithms of the least loss up to there.
    """

    N: int
    run: list[str]
    B: Array
    log_steps: list[Array]
    least: list[Array]

    def levels(self, number: int = LEVELS) -> Array:
        """Return log losses, highest first, that at least half of the runs pass through."""
        high = min(least[0] for least in self.least)
        low = float(np.median([least[-1] for least in self.least]))
        return np.linspace(high, low, number + 2)[1:-1] if low < high else np.empty(0)

    def steps(self, levels: Array, shift: Array) -> Array:
        """Return the steps to each level, infinite where it is not reached.

        Args:
            levels: Logarithms of losses, shape (levels,).
            shift: What is added to the log losses of each run, shape (replicates, runs).

        Returns:
            Shape (replicates, runs, levels).
        """
        found = np.empty((*shift.shape, len(levels)))
        for number, (log_steps, least) in enumerate(zip(self.log_steps, self.least, strict=True)):
            found[:, number] = reach(log_steps, least, levels - shift[:, [number]])
        return np.exp(found)

    def best(self, steps: Array) -> Array:
        """Return the steps of the best learning rate, shape (replicates, batches, levels)."""
        batches = np.unique(self.B)
        return np.stack([steps[:, self.B == B].min(axis=1) for B in batches], axis=1)

    def cheap(self, steps: Array, extra: float) -> Array:
        """Return the largest batch at each level that takes at most `extra` more tokens.

        More than the least of all batches, that is (Zhang et al. 2024); between two batches tokens
        grow evenly in logarithms. NaN where the largest batch takes no more, or one alone reaches
        the level. By the hyperbola it is `extra` times the critical batch.

        Args:
            steps: Of one replicate, shape (runs, levels).
            extra: Share of the least tokens.
        """
        batches = np.log(np.unique(self.B))
        tokens = np.log(self.best(steps[None])[0]) + batches[:, None]
        found = np.full(tokens.shape[1], np.nan)
        for level, column in enumerate(tokens.T):
            there = np.isfinite(column)
            x, y = batches[there], column[there]
            most = y.min() + np.log1p(extra) if len(y) > 1 else -np.inf
            later = np.arange(len(y)) > (int(np.argmin(y)) if len(y) else 0)
            beyond = np.flatnonzero((y > most) & later)
            if len(beyond):
                last = int(beyond[0])
                found[level] = np.exp(
                    np.interp(most, y[last - 1 : last + 1], x[last - 1 : last + 1])
                )
        return found

    def hyperbolae(self, steps: Array, present: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
        """Return S_min and E_min of each replicate and level, NaN where not both are positive.

        Errors count relatively: least squares of (S_min + E_min / B) / S - 1.

        Args:
            steps: Shape (replicates, runs, levels).
            present: Which runs there are, shape (replicates, runs).
        """
        best = self.best(np.where(present[:, :, None], steps, np.inf))
        batches = np.unique(self.B)
        weight = np.where(np.isfinite(best), 1 / best, 0.0)  # zero where it is not reached
        inverse = 1 / batches[:, None]
        a, b, c = ((weight**2 * inverse**power).sum(axis=1) for power in range(3))
        right, slope = weight.sum(axis=1), (weight * inverse).sum(axis=1)
        determinant = a * c - b**2
        with np.errstate(divide="ignore", invalid="ignore"):
            S_min = (c * right - b * slope) / determinant
            E_min = (a * slope - b * right) / determinant
        enough = (weight > 0).sum(axis=1) >= FEWEST_BATCHES
        sound = enough & (S_min > 0) & (E_min > 0)
        return np.where(sound, S_min, np.nan), np.where(sound, E_min, np.nan)


def reach(log_amount: Array, least: Array, levels: Array) -> Array:
    """Return the logarithm of the amount at which a curve first reaches each level.

    Between evaluations it is linear in the logarithm of the loss. Infinite for a loss that is never
    reached, or was reached when the curve begins.

    Args:
        log_amount: Logarithms of steps or tokens at the evaluations, shape (points,).
        least: Logarithms of the least losses up to there.
        levels: Logarithms of losses, of any shape.
    """
    falls = np.concatenate([[True], np.diff(least) < 0])
    found = np.interp(-levels, -least[falls], log_amount[falls], left=np.inf, right=np.inf)
    return np.asarray(np.where(levels >= least[0], np.inf, found))


def is_scan(folder: Path) -> bool:
    """Tell whether a study compares batches: some model in it has three or more."""
    runs = read_table(folder / "runs.parquet", RUN_COLUMNS)
    runs = runs[runs["outcome"] != "diverged"]
    return bool((runs.groupby("N")["B"].nunique() >= FEWEST_BATCHES).any())


def scans_of(runs: pd.DataFrame, curves: pd.DataFrame) -> tuple[list[Scan], list[Exclusion]]:
    """Return the batch scans among runs, one for each N, and the runs that are in none.

    Args:
        runs: Rows of the runs table that did not diverge.
        curves: The curves table.
    """
    curves = curves[(curves["step"] > 0) & (curves["test_loss"] > 0)]
    curves = curves[np.isfinite(curves["test_loss"])].sort_values("step")
    tracks = dict(list(curves.groupby("run")))
    scans: list[Scan] = []
    excluded: list[Exclusion] = []
    for N in np.unique(runs["N"].to_numpy()):
        of_size = runs[(runs["N"] == N) & runs["run"].isin(tracks)]
        if of_size["B"].nunique() < FEWEST_BATCHES:
            reason = f"fewer than {FEWEST_BATCHES} batches of N = {N}"
            excluded += [{"run": str(run), "reason": reason} for run in of_size["run"]]
            continue
        of_runs = [tracks[run] for run in of_size["run"]]
        losses = [np.log(track["test_loss"].to_numpy(dtype=float)) for track in of_runs]
        scans.append(
            Scan(
                N=int(N),
                run=list(of_size["run"]),
                B=of_size["B"].to_numpy(dtype=float),
                log_steps=[np.log(track["step"].to_numpy(dtype=float)) for track in of_runs],
                least=[np.minimum.accumulate(loss) for loss in losses],
            )
        )
    return scans, excluded


def read_scans(folders: Sequence[Path], rules: Rules) -> tuple[list[Scan], list[Exclusion], float]:
    """Return the scans of some studies, the runs that are in none, and the noise of seeds.

    Raises:
        InputError: When a table is missing.
    """
    runs = read_studies(folders, "runs", [*RUN_COLUMNS, rules.count])
    runs["N"] = runs[rules.count]
    diverged = runs["outcome"] == "diverged"
    diverged |= ~(runs["N"] > 0) | ~(runs["B"] > 0)
    scans, excluded = scans_of(runs[~diverged], read_studies(folders, "curves", CURVE_COLUMNS))
    excluded += [
        {"run": str(run), "reason": "diverged, or N or B is not above 0"}
        for run in runs["run"][diverged]
    ]
    return scans, excluded, seed_noise(runs[~diverged])


def critical_batches(law: Law, folders: Sequence[Path], rules: Rules) -> Sample:
    """Return the critical batch at several losses of each model that has a batch scan.

    Replicates draw the runs of each scan, and move the losses of each by the noise of seeds. A
    point counts by the inverse variance of its logarithm over replicates, within limits.

    Raises:
        TooFewRunsError: When there is no scan, or none has a hyperbola.
    """
    scans, excluded, noise = read_scans(folders, rules)
    if not scans:
        raise TooFewRunsError(
            f"{join(folders)}: {law.name} needs runs of one model at {FEWEST_BATCHES} or more "
            "batches; vary batch_sequences in a study"
        )
    rows = []
    for scan in scans:
        levels = scan.levels()
        everything = np.zeros((1, len(scan.run)))
        S_min, E_min = scan.hyperbolae(scan.steps(levels, everything), everything == 0)
        rows.append(
            pd.DataFrame(
                {
                    "run": f"scan of N = {scan.N}",
                    "N": scan.N,
                    "L": np.exp(levels),
                    "B_crit": E_min[0] / S_min[0],
                    "S_min": S_min[0],
                    "E_min": E_min[0],
                }
            )
        )
    found = pd.concat(rows, ignore_index=True)
    on = np.isfinite(found["B_crit"].to_numpy())

    def redraw(number: int, seed: int) -> Resamples:
        generator = np.random.default_rng(seed)
        parts = []
        for scan in scans:
            runs = len(scan.run)
            counts = generator.multinomial(runs, np.full(runs, 1 / runs), size=number)
            shift = noise * generator.standard_normal((number, runs))
            S_min, E_min = scan.hyperbolae(scan.steps(scan.levels(), shift), counts > 0)
            parts.append(E_min / S_min)
        drawn = np.concatenate(parts, axis=1)[:, on]
        there = np.isfinite(drawn)
        return Resamples(there * weights, np.where(there, drawn, 1.0))

    weights = np.ones(on.sum())
    if on.any():
        drawn = redraw(WEIGHING, 0)
        logs = np.where(drawn.weights > 0, np.log(drawn.y), np.nan)
        with np.errstate(all="ignore"):
            variance = np.nanvar(logs, axis=0)
        variance = np.where(np.isfinite(variance) & (variance > 0), variance, np.inf)
        least = float(variance.min())
        weights = (
            np.maximum(least / variance, 1 / LARGEST_WEIGHT) if np.isfinite(least) else weights
        )
        weights = weights / weights.mean()
    inputs = [str(folder / f"{name}.parquet") for folder in folders for name in ("runs", "curves")]
    notes: dict[str, Any] = {"seed_noise": noise, "levels_without_hyperbola": int((~on).sum())}
    if noisy := _noise_scale(law, folders, scans):
        notes["noise_scale"] = noisy
    sample = make_sample(
        law, found[on], join(folders), excluded, inputs, weights=weights, notes=notes, redraw=redraw
    )
    behind = sum(len(scan.run) for scan in scans)
    return replace(sample, points=replace(sample.points, behind=behind))


class Critical(NamedTuple):
    """B_crit(L) as it was fitted, and as its replicates have it."""

    constants: dict[str, float]
    draws: list[dict[str, float]]
    status: str

    def batch(self, loss: Array, draw: int | None = None) -> Array:
        """Return the critical batch at losses, in tokens; of a replicate where one is named."""
        constants = self.constants if draw is None else self.draws[draw]
        return LAWS["B_crit"](constants, L=loss)


def fit_critical(folders: Sequence[Path], rules: Rules, replicates: int = WEIGHING) -> Critical:
    """Fit B_crit(L) to those of the studies that are batch scans.

    Raises:
        InputError: When none is, or too few of its hyperbolae are sound.
    """
    scans = [folder for folder in folders if is_scan(folder)]
    law = LAWS["B_crit"]
    if not scans:
        raise InputError(
            f"{join(folders)}: no study of batches among them; C_min and S_min need one with runs "
            f"of one model at {FEWEST_BATCHES} or more"
        )
    sample = critical_batches(law, scans, rules)
    found: Estimate = estimate(law, sample.points, sample.resamples(replicates, 0))
    rows = found.draws[((found.draws > 0) & np.isfinite(found.draws)).all(axis=1)]
    draws = [dict(zip(law.parameters, map(float, row), strict=True)) for row in rows]
    return Critical(found.constants, draws, found.status)


def _noise_scale(law: Law, folders: Sequence[Path], scans: list[Scan]) -> dict[str, Any] | None:
    """Return B_crit by the gradient noise scale, at every loss it was measured at, and its fit."""
    curves = read_studies(folders, "curves", CURVE_COLUMNS)
    if not {*NORMS} <= set(curves):
        return None
    known = {run: (scan.N, B) for scan in scans for run, B in zip(scan.run, scan.B, strict=True)}
    curves = curves[curves.run.isin(known) & curves.grad_sq_small.notna() & (curves.test_loss > 0)]
    rows = []
    for run, loss, *norms in curves[["run", "test_loss", *NORMS]].itertuples(
        index=False, name=None
    ):
        N, B = known[run]
        small, big, tokens = map(float, norms)
        if tokens < B:
            moments = noise_scale(small, big, tokens, B)
            if moments.gradient > 0 and moments.covariance > 0:
                rows.append((run, N, float(loss), moments.tokens))
    points = pd.DataFrame(rows, columns=["run", "N", "L", "B_crit"])
    if points["run"].nunique() < FEWEST_BATCHES:
        return None
    fitted = Points(
        x={"L": points["L"].to_numpy()},
        y=points["B_crit"].to_numpy(),
        run=np.unique(points["run"], return_inverse=True)[1],
        weights=np.ones(len(points)),
    )
    found = estimate(law, fitted, resample(fitted, WEIGHING, 0))
    return {
        "parameters": {
            name: {"value": value, **vars(found.percentile[name])}
            for name, value in found.constants.items()
            if name in found.percentile
        },
        "status": found.status,
        "points": points.to_dict(orient="records"),
    }
