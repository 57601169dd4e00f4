"""Learning curves on one grid of compute, and their frontier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling_laws.errors import InputError
from scaling_laws.laws.estimate import Points, Resamples
from scaling_laws.laws.forms import Law
from scaling_laws.laws.points import (
    CURVE_COLUMNS,
    Sample,
    join,
    make_sample,
    read_studies,
    seed_noise,
    select_runs,
)
from scaling_laws.laws.problem import Array
from scaling_laws.models.counts import FLOP_PER_PF_DAY

GRID_PER_DECADE = 20


@dataclass(frozen=True)
class Curves:
    """Learning curves on one grid of compute.

    Attributes:
        run: Names of the runs, shape (runs,).
        N: Non-embedding parameters, shape (runs,).
        log_C: Natural log of the compute in PF-days, shape (points,).
        log_loss: Natural log of the test loss, shape (runs, points); infinite where a run has no
            test loss.
    """

    run: list[str]
    N: npt.NDArray[np.int64]
    log_C: Array
    log_loss: Array

    def frontier(self, present: npt.NDArray[np.bool_], shift: Array | None = None) -> Array:
        """Return the log loss on the compute frontier of some of the runs, NaN off it.

        The frontier at C is the least loss of any run at C (section 3.3), where

        - models of at least two sizes are compared, so that it is neither the start of the
          smallest model nor the end of the largest, and
        - no run has reached that loss with less compute: past the end of a run whose learning
          rate has decayed, larger models halfway through theirs may be worse.

        Args:
            present: Which runs there are, shape (replicates, runs).
            shift: What is added to the log losses of each run, in the same shape.

        Returns:
            Log losses, shape (replicates, points).
        """
        shape = (len(present), len(self.log_C))
        lowest, sizes = np.full(shape, np.inf), np.zeros(shape, dtype=np.int64)
        shift = np.zeros_like(present, dtype=float) if shift is None else shift
        for N in np.unique(self.N):
            of_size = self.N == N
            losses = self.log_loss[of_size] + shift[:, of_size, None]
            least = np.where(present[:, of_size, None], losses, np.inf).min(axis=1)
            lowest = np.minimum(lowest, least)
            sizes += np.isfinite(least)
        before = np.minimum.accumulate(lowest, axis=1)[:, :-1]
        reached = np.pad(before, ((0, 0), (1, 0)), constant_values=np.inf)
        return np.where((sizes >= 2) & (lowest < reached), lowest, np.nan)


def compute_curves(runs: pd.DataFrame, folders: Sequence[Path]) -> Curves:
    """Return the learning curves of `runs` on a grid of compute, without their warm-up.

    Compute is C = 6 N B S (section 3.3). Between two evaluations the log loss is linear in log C.
    Points before the peak of the learning rate are dropped: there the loss says how the rate
    rises, not what the compute buys.

    Args:
        runs: Selected rows of the runs tables.
        folders: One folder of tables a study.
    """
    curves = read_studies(folders, "curves", CURVE_COLUMNS)
    curves = curves[(curves.tokens > 0) & (curves.test_loss > 0) & np.isfinite(curves.test_loss)]
    tracks = {}
    for run, curve in curves.sort_values("step").groupby("run"):
        after_warmup = curve.iloc[int(np.argmax(curve.lr.to_numpy())) :]
        tracks[run] = (np.log(after_warmup.tokens), np.log(after_warmup.test_loss))
    if missing := sorted(set(runs.run) - set(tracks)):
        raise InputError(
            f"{join(folders)}: curves.parquet has no test loss of run {', '.join(missing)}"
        )
    offsets = np.log(6 * runs.N.to_numpy(dtype=float) / FLOP_PER_PF_DAY)
    start = min(tracks[run][0].min() + at for run, at in zip(runs.run, offsets, strict=True))
    stop = max(tracks[run][0].max() + at for run, at in zip(runs.run, offsets, strict=True))
    count = 1 + max(1, round((stop - start) / np.log(10) * GRID_PER_DECADE))
    log_C = np.linspace(start, stop, count)
    log_loss = [
        np.interp(log_C - at, *tracks[run], left=np.inf, right=np.inf)
        for run, at in zip(runs.run, offsets, strict=True)
    ]
    return Curves(list(runs.run), runs.N.to_numpy(dtype=np.int64), log_C, np.array(log_loss))


def frontier(law: Law, folders: Sequence[Path], minimum_layers: int = 2) -> Sample:
    """Return the compute frontier of all learning curves; each replicate draws its own.

    Raises:
        InputError: When a table is missing, or no two sizes overlap.
    """
    runs, excluded = select_runs(law, folders, minimum_layers)
    if runs.empty:
        return make_sample(law, runs.assign(C=0.0, L=0.0), join(folders), excluded, [])
    curves = compute_curves(runs, folders)
    everything = np.ones((1, len(runs)), dtype=bool)
    found = curves.frontier(everything)[0]
    on = np.isfinite(found)
    if not on.any():
        raise InputError(
            f"{join(folders)}: no compute at which the learning curves of two model "
            f"sizes overlap after warm-up (sizes N = {sorted(set(curves.N.tolist()))}); "
            f"{law.name} needs sizes closer to each other or longer runs"
        )
    leader = np.argmin(curves.log_loss[:, on], axis=0)
    frame = pd.DataFrame(
        {
            "run": [curves.run[index] for index in leader],
            "N": curves.N[leader],
            "C": np.exp(curves.log_C[on]),
            "L": np.exp(found[on]),
        }
    )
    compared = pd.DataFrame(np.isfinite(curves.log_loss)).groupby(curves.N).any().sum() >= 2
    noise = seed_noise(runs)
    notes = {
        "seed_noise": noise,
        "frontier": {
            "points_compared": int(compared.sum()),
            "points_dominated": int(compared.sum() - on.sum()),
            "runs": int(frame.run.nunique()),
        },
    }
    inputs = [str(folder / f"{name}.parquet") for folder in folders for name in ("runs", "curves")]
    sample = make_sample(law, frame, join(folders), excluded, inputs, notes=notes)
    # Replicates may reach beyond the frontier of all runs, so they are fitted on the whole grid.
    points = Points(
        x={"C": np.exp(curves.log_C)},
        y=np.exp(np.where(on, found, found[on].mean())),
        run=np.arange(len(runs)),
        weights=on.astype(float),
    )

    def redraw(number: int, seed: int) -> Resamples:
        generator = np.random.default_rng(seed)
        counts = generator.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=number)
        shift = noise * generator.standard_normal(counts.shape)
        drawn = curves.frontier(counts > 0, shift)
        there = np.isfinite(drawn)
        return Resamples(there.astype(float), np.exp(np.where(there, drawn, 0.0)))

    return replace(sample, points=points, redraw=redraw)
