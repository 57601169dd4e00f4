"""Learning curves: their compute frontier, and what of them large and small batches would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling_laws.errors import InputError, TooFewRunsError
from scaling_laws.laws.batch import Critical, fit_critical, is_scan
from scaling_laws.laws.efficient import compute_min, steps_min
from scaling_laws.laws.estimate import Points, Resamples, resample
from scaling_laws.laws.forms import Law
from scaling_laws.laws.points import (
    CURVE_COLUMNS,
    Rules,
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
VARIANTS = 20  # fits of B_crit among which replicates of what follows from it are divided


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

    def frontier(
        self, present: npt.NDArray[np.bool_], shift: Array | None = None
    ) -> tuple[Array, Array]:
        """Return log loss and size on the compute frontier of some of the runs, NaN off it.

        The frontier at C is the least loss of any run at C (section 3.3), where

        - it is neither that of the smallest model nor that of the largest, so that the best size
          is known to lie between those compared, and
        - no run has reached that loss with less compute: past the end of a run whose learning
          rate has decayed, larger models halfway through theirs may be worse.

        Args:
            present: Which runs there are, shape (replicates, runs).
            shift: What is added to the log losses of each run, in the same shape.

        Returns:
            Log losses and sizes, both of shape (replicates, points).
        """
        shape = (len(present), len(self.log_C))
        lowest, leader = np.full(shape, np.inf), np.full(shape, np.nan)
        shift = np.zeros_like(present, dtype=float) if shift is None else shift
        for N in np.unique(self.N):
            of_size = self.N == N
            losses = self.log_loss[of_size] + shift[:, of_size, None]
            least = np.where(present[:, of_size, None], losses, np.inf).min(axis=1)
            leader = np.where(least < lowest, N, leader)
            lowest = np.minimum(lowest, least)
        smallest = np.where(present, self.N, np.inf).min(axis=1, keepdims=True)
        largest = np.where(present, self.N, 0).max(axis=1, keepdims=True)
        before = np.minimum.accumulate(lowest, axis=1)[:, :-1]
        reached = np.pad(before, ((0, 0), (1, 0)), constant_values=np.inf)
        on = (smallest < leader) & (leader < largest) & (lowest < reached)
        return np.where(on, lowest, np.nan), np.where(on, leader, np.nan)


@dataclass(frozen=True)
class Track:
    """The learning curve of one run after its warm-up.

    Attributes:
        run: Its name.
        N: Parameters.
        B: Batch in tokens.
        steps: At each evaluation.
        compute: In PF-days.
        loss: Test loss.
    """

    run: str
    N: int
    B: float
    steps: Array
    compute: Array
    loss: Array

    def log_C(self, critical: Array | None) -> Array:
        """Return the logarithm of C, or of C_min where critical batches are given."""
        if critical is None:
            return np.log(self.compute)
        # Where the loss rises again C_min would fall with more training.
        logs = np.log(compute_min(self.compute, self.B, critical))
        return np.maximum.accumulate(logs)


def tracks(runs: pd.DataFrame, folders: Sequence[Path], rules: Rules) -> list[Track]:
    """Return the learning curves of runs.

    Compute is C = 6 N B S (section 3.3), or that of another convention. Points before the peak of
    the learning rate are dropped: there the loss says how the rate rises, not what compute buys.

    Args:
        runs: Selected rows of the runs tables.
        folders: One folder of tables a study.
        rules: How compute is counted.

    Raises:
        InputError: When a run has no curve, or a column is missing.
    """
    curves = read_studies(folders, "curves", CURVE_COLUMNS)
    curves = curves[(curves.tokens > 0) & (curves.test_loss > 0) & np.isfinite(curves.test_loss)]
    of_run = dict(list(curves.sort_values("step").groupby("run")))
    if missing := sorted(set(runs.run) - set(of_run)):
        raise InputError(
            f"{join(folders)}: curves.parquet has no test loss of run {', '.join(missing)}"
        )
    found = []
    for row in runs.to_dict(orient="records"):
        curve = of_run[row["run"]]
        after = curve.iloc[int(np.argmax(curve.lr.to_numpy())) :]
        per_token = 6 * row["N"] if rules.flop == "C" else row[rules.flop] / row["tokens"]
        tokens = after.tokens.to_numpy(dtype=float)
        found.append(
            Track(
                run=row["run"],
                N=int(row["N"]),
                B=float(row["B"]),
                steps=after.step.to_numpy(dtype=float),
                compute=per_token * tokens / FLOP_PER_PF_DAY,
                loss=after.test_loss.to_numpy(),
            )
        )
    return found


def slices(found: Sequence[Track], amounts: Array, of: Literal["steps", "compute"]) -> Array:
    """Return the losses of curves at given steps or compute, shape (curves, amounts).

    Between two evaluations the log loss is linear in the logarithm of the amount; NaN where a curve
    has not begun or has ended (Figure 11).

    Args:
        found: The curves.
        amounts: Steps, or compute in PF-days.
        of: Which of them.
    """
    rows = [
        np.exp(
            np.interp(
                np.log(amounts),
                np.log(getattr(track, of)),
                np.log(track.loss),
                left=np.nan,
                right=np.nan,
            )
        )
        for track in found
    ]
    return np.array(rows).reshape(len(found), len(amounts))


def compute_curves(found: Sequence[Track], critical: Callable[[Array], Array] | None) -> Curves:
    """Return learning curves on a grid of C, or of C_min where critical batches are known.

    Between two evaluations the log loss is linear in the logarithm of compute.

    Args:
        found: The curves.
        critical: Gives the critical batch at losses.
    """
    logs = [track.log_C(critical(track.loss) if critical else None) for track in found]
    start, stop = min(log.min() for log in logs), max(log.max() for log in logs)
    count = 1 + max(1, round((stop - start) / np.log(10) * GRID_PER_DECADE))
    log_C = np.linspace(start, stop, count)
    log_loss = [
        np.interp(log_C, log, np.log(track.loss), left=np.inf, right=np.inf)
        for log, track in zip(logs, found, strict=True)
    ]
    N = np.array([track.N for track in found])
    return Curves([track.run for track in found], N, log_C, np.array(log_loss))


def frontier(law: Law, folders: Sequence[Path], rules: Rules) -> Sample:
    """Return what lies on the compute frontier of all learning curves.

    That is the loss, or the size that has it, and the batch, steps and tokens that go with both
    (section 6). Each replicate draws runs, moves their losses by the noise of seeds, and has its
    own frontier; those of C_min are divided among replicates of the critical batch.

    Raises:
        InputError: When a table is missing.
        TooFewRunsError: When no two sizes overlap.
    """
    corrected = "C_min" in law.variables
    (variable,) = law.variables
    response, _ = law.response
    studies = [folder for folder in folders if not (corrected and is_scan(folder))]
    if not studies:
        raise InputError(f"{join(folders)}: {law.name} needs a study of model sizes as well")
    runs, excluded = select_runs(law, studies, rules)
    if runs.empty:
        empty = pd.DataFrame({"run": [], variable: [], response: []})
        return make_sample(law, empty, join(folders), excluded, [])
    critical = fit_critical(folders, rules) if corrected else None
    found = tracks(runs, studies, rules)
    curves = compute_curves(found, critical.batch if critical else None)
    log_loss, leader = (part[0] for part in curves.frontier(np.ones((1, len(runs)), dtype=bool)))
    on = np.isfinite(log_loss)
    if not on.any():
        raise TooFewRunsError(
            f"{join(folders)}: no compute at which a size between the smallest and the largest has "
            f"the least loss (sizes N = {sorted(set(curves.N.tolist()))}); {law.name} needs three "
            "sizes or more whose learning curves cross: longer runs, or sizes closer to each other"
        )
    y = _response(response, curves.log_C, log_loss, leader, critical, None)
    first = np.argmin(curves.log_loss[:, on], axis=0)
    frame = pd.DataFrame(
        {
            "run": [curves.run[index] for index in first],
            "N": leader[on],
            variable: np.exp(curves.log_C[on]),
            response: y[on],
        }
    )
    noise = seed_noise(runs)
    best = np.array([curves.N[k] for k in np.argmin(curves.log_loss, axis=0)])
    bracketed = (curves.N.min() < best) & (best < curves.N.max())
    notes = {
        "seed_noise": noise,
        "frontier": {
            "points_compared": int(bracketed.sum()),
            "points_dominated": int(bracketed.sum() - on.sum()),
            "runs": int(frame.run.nunique()),
        },
    }
    if critical:
        notes["B_crit"] = {"status": critical.status, "parameters": critical.constants}
    inputs = [str(folder / f"{name}.parquet") for folder in folders for name in ("runs", "curves")]
    sample = make_sample(law, frame, join(folders), excluded, inputs, notes=notes)
    # Replicates may reach beyond the frontier of all runs, so they are fitted on the whole grid.
    points = Points(
        x={variable: np.exp(curves.log_C)},
        y=np.where(on, y, np.exp(np.log(y[on]).mean())),
        run=np.zeros(len(on), dtype=np.int64),
        weights=on.astype(float),
        behind=len(runs),
    )

    def redraw(number: int, seed: int) -> list[Resamples]:
        generator = np.random.default_rng(seed)
        variants = min(VARIANTS, len(critical.draws)) if critical else 0
        parts = []
        for part in range(max(variants, 1)):
            size = len(range(part, number, max(variants, 1)))
            counts = generator.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=size)
            shift = noise * generator.standard_normal(counts.shape)
            drawn, draw = curves, None
            if critical and variants:
                draw = part * len(critical.draws) // variants
                drawn = compute_curves(found, partial(critical.batch, draw=draw))
            losses, leaders = drawn.frontier(counts > 0, shift)
            y = _response(response, drawn.log_C, losses, leaders, critical, draw)
            there = np.isfinite(y)
            x = {variable: np.exp(drawn.log_C)} if critical else None
            parts.append(Resamples(there.astype(float), np.where(there, y, 1.0), x))
        return parts

    return replace(sample, points=points, redraw=redraw)


def curve_points(law: Law, folders: Sequence[Path], rules: Rules) -> Sample:
    """Return every point of the learning curves after warm-up, with S_min for its steps.

    Replicates draw runs and move their losses by the noise of seeds; they are divided among
    replicates of the critical batch.

    Raises:
        InputError: When a table is missing, or no study is a batch scan.
    """
    studies = [folder for folder in folders if not is_scan(folder)]
    if not studies:
        raise InputError(f"{join(folders)}: {law.name} needs a study of model sizes as well")
    critical = fit_critical(folders, rules)
    runs, excluded = select_runs(law, studies, rules)
    found = tracks(runs, studies, rules) if len(runs) else []

    def steps(draw: int | None = None) -> Array:
        parts = [steps_min(t.steps, t.B, critical.batch(t.loss, draw)) for t in found]
        return np.concatenate([np.empty(0), *parts])

    frame = pd.DataFrame(
        {
            "run": [track.run for track in found for _ in track.loss],
            "N": [float(track.N) for track in found for _ in track.loss],
            "S_min": steps(),
            "L": np.concatenate([np.empty(0), *(track.loss for track in found)]),
        }
    )
    noise = seed_noise(runs)
    notes = {
        "seed_noise": noise,
        "B_crit": {"status": critical.status, "parameters": critical.constants},
    }
    inputs = [str(folder / f"{name}.parquet") for folder in folders for name in ("runs", "curves")]
    sample = make_sample(law, frame, join(folders), excluded, inputs, notes=notes)

    def redraw(number: int, seed: int) -> list[Resamples]:
        variants = max(1, min(VARIANTS, len(critical.draws)))
        parts = []
        for part in range(variants):
            size = len(range(part, number, variants))
            drawn = resample(sample.points, size, seed + part, noise)
            draw = part * len(critical.draws) // variants if critical.draws else None
            parts.append(replace(drawn, x={"N": sample.points.x["N"], "S_min": steps(draw)}))
        return parts

    return replace(sample, redraw=redraw)


def _response(
    name: str,
    log_C: Array,
    log_loss: Array,
    leader: Array,
    critical: Critical | None,
    draw: int | None,
) -> Array:
    """Return what is asked of the frontier; NaN off it.

    With B = B_crit training takes twice the least steps and tokens: D = 2 C_min / 6 N (eq. 6.7).
    """
    loss = np.exp(log_loss)
    if name == "L":
        return loss
    if name == "N_opt":
        return leader
    tokens = 2 * np.exp(log_C) * FLOP_PER_PF_DAY / (6 * leader)
    if name == "D_opt":
        return np.asarray(tokens)
    assert critical is not None
    batch = critical.batch(loss, draw)
    return batch if name == "B_opt" else np.asarray(tokens / (2 * batch))
