"""Which points a law is fitted to, taken from the tables of studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling_laws.errors import InputError
from scaling_laws.laws.forms import Array, Law
from scaling_laws.models.counts import FLOP_PER_PF_DAY
from scaling_laws.tables import read_table

Exclusion = dict[str, str]
"""`run` and `reason`."""

RUN_COLUMNS = ("run", "N", "D", "B", "n_layer", "test_loss", "best_test_loss", "outcome")
CURVE_COLUMNS = ("run", "step", "tokens", "lr", "test_loss")
GRID_PER_DECADE = 20
KEYS = {"runs": ["run"], "curves": ["run", "step"], "evaluations": ["run", "step", "corpus"]}


def read_studies(folders: Sequence[Path], name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return the table `name` of several studies as one; a run of two studies stands once in it.

    Args:
        folders: One folder a study.
        name: Name of the table: runs, curves or evaluations.
        columns: Columns that must be there.

    Raises:
        InputError: If a file is missing or unreadable, or lacks a column.
    """
    tables = [read_table(folder / f"{name}.parquet", columns) for folder in folders]
    return pd.concat(tables, ignore_index=True).drop_duplicates(KEYS[name], ignore_index=True)


def select_runs(
    law: Law, folders: Sequence[Path], minimum_layers: int = 2
) -> tuple[pd.DataFrame, list[Exclusion]]:
    """Return the runs that a law is fitted to, and those that are left out with the reason.

    Left out are diverged runs; from L(N) and L(C) runs of fewer than `minimum_layers`, which the
    paper leaves out because they lie off the trend (section 3.2, Figure 6); from L(D) all
    models but the largest, because the law is about data that limit a large model (section 3.3).

    Args:
        law: The law.
        folders: One folder of tables a study.
        minimum_layers: Least number of layers in L(N) and L(C).
    """
    runs = read_studies(folders, "runs", RUN_COLUMNS)
    loss = runs["test_loss" if law.loss == "envelope" else law.loss]
    reason = pd.Series("", index=runs.index)
    if law.name in ("L_N", "L_C"):
        reason[runs.n_layer < minimum_layers] = f"fewer than {minimum_layers} layers"
    if law.name == "L_D":
        largest = runs.N[runs.outcome != "diverged"].max()
        reason[runs["N"] != largest] = f"not the largest model, N = {largest}"
    reason[~np.isfinite(loss) | (loss <= 0)] = "no finite test loss"
    reason[runs.outcome == "diverged"] = "diverged"
    excluded = [
        {"run": str(run), "reason": why} for run, why in zip(runs.run, reason, strict=True) if why
    ]
    kept = runs.assign(loss=loss)[reason == ""]
    kept = kept.sort_values(["N", "D", "run"], ignore_index=True)
    return kept, excluded


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

    def frontier(self, present: npt.NDArray[np.bool_]) -> Array:
        """Return the log loss on the compute frontier of some of the runs, NaN off it.

        The frontier at C is the least loss of any run at C (section 3.3), where

        - models of at least two sizes are compared, so that it is neither the start of the
          smallest model nor the end of the largest, and
        - no run has reached that loss with less compute: past the end of a run whose learning
          rate has decayed, larger models halfway through theirs may be worse.

        Args:
            present: Which runs there are, shape (replicates, runs).

        Returns:
            Log losses, shape (replicates, points).
        """
        shape = (len(present), len(self.log_C))
        lowest, sizes = np.full(shape, np.inf), np.zeros(shape, dtype=np.int64)
        for N in np.unique(self.N):
            of_size = self.N == N
            losses = np.where(present[:, of_size, None], self.log_loss[of_size], np.inf)
            least = losses.min(axis=1)
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
            f"{_join(folders)}: curves.parquet has no test loss of run {', '.join(missing)}"
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


def _join(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))
