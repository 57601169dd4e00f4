"""Which points a law is fitted to, taken from the tables of studies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from scaling_laws.errors import InputError, TooFewRunsError
from scaling_laws.laws.estimate import Points, Resamples, resample
from scaling_laws.laws.forms import Law
from scaling_laws.laws.problem import Array
from scaling_laws.tables import read_table

Exclusion = dict[str, str]
"""`run` and `reason`."""

RUN_COLUMNS = ("run", "N", "D", "B", "n_layer", "test_loss", "best_test_loss", "outcome")
CURVE_COLUMNS = ("run", "step", "tokens", "lr", "test_loss")
SEEDS_APART = (
    "architecture", "n_layer", "d_model", "n_head", "d_ff", "n_ctx", "reuse", "N", "D", "B",
    "tokens", "optimizer", "schedule", "lr", "dropout",
)  # fmt: skip
"""Columns that are equal for runs that differ in their seed alone."""
KEYS = {"runs": ["run"], "curves": ["run", "step"], "evaluations": ["run", "step", "corpus"]}


TOKENS_PROCESSED = ("chinchilla", "gadre", "muennighoff")
"""Laws whose D is the tokens that a run processes; elsewhere it is the distinct ones."""


@dataclass(frozen=True)
class Rules:
    """What of the runs a law is fitted to.

    Attributes:
        minimum_layers: Least number of layers in laws of the model size alone and of compute.
        count: Column that N is taken from; N_total has embeddings and head (Pearce & Song 2024).
        flop: Column that compute is taken from; C_full has attention and head (Porian et al. 2024).
    """

    minimum_layers: int = 2
    count: Literal["N", "N_total"] = "N"
    flop: Literal["C", "C_full"] = "C"


def read_studies(folders: Sequence[Path], name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return the table `name` of several studies as one; a run of two studies stands once in it.

    Args:
        folders: One folder a study.
        name: Name of the table: runs, curves or evaluations.
        columns: Columns that must be there.

    Raises:
        InputError: If a file is missing or damaged, lacks a column, or has two losses of one run.
    """
    tables = [read_table(folder / f"{name}.parquet", columns) for folder in folders]
    table = pd.concat(tables, ignore_index=True)
    kept = table.drop_duplicates(KEYS[name], ignore_index=True)
    told = "loss" if name == "evaluations" else "test_loss"
    if len(kept) != len(table.drop_duplicates([*KEYS[name], told])):
        twice = table.drop_duplicates([*KEYS[name], told])
        run = twice["run"][twice.duplicated(KEYS[name])].iloc[0]
        raise InputError(f"{join(folders)}: {name}.parquet: run {run} has two different losses")
    return kept


def select_runs(
    law: Law, folders: Sequence[Path], rules: Rules
) -> tuple[pd.DataFrame, list[Exclusion]]:
    """Return the runs that a law is fitted to, and those that are left out with the reason.

    Left out are diverged runs; from laws of the model size alone and of compute runs of too few
    layers, which the paper leaves out because they lie off the trend (section 3.2, Figure 6); from
    L(D) all models but the largest, because the law is about data that limit a large model
    (section 3.3); from laws of tokens that are each seen once runs that see some again.

    Args:
        law: The law.
        folders: One folder of tables a study.
        rules: What is left out, and how N and C are counted.
    """
    runs = read_studies(folders, "runs", RUN_COLUMNS)
    for column in (rules.count, *(() if rules.flop == "C" else (rules.flop, "tokens"))):
        _require(runs, folders, column)
    runs["N"] = runs[rules.count]
    loss = runs[law.loss if law.loss in ("test_loss", "best_test_loss") else "test_loss"]
    reason = pd.Series("", index=runs.index)
    if law.name == "L_N" or law.loss == "curves":
        reason[runs.n_layer < rules.minimum_layers] = f"fewer than {rules.minimum_layers} layers"
    if law.name in TOKENS_PROCESSED:
        _require(runs, folders, "tokens")
        runs["U"], runs["D"] = runs["D"], runs["tokens"]
        runs["M"], runs["C"] = runs["D"] / runs["N"], 6.0 * runs["N"] * runs["D"]
        if "U" not in law.variables:
            reason[runs["D"] > runs["U"]] = "sees data more than once"
    if law.name == "L_D":
        largest = runs.N[runs.outcome != "diverged"].max()
        reason[runs["N"] != largest] = f"not the largest model, N = {largest}"
    for name in ("N", "D", "B"):
        reason[~(runs[name] > 0)] = f"{name} is not above 0"
    reason[~np.isfinite(loss) | (loss <= 0)] = "no finite test loss"
    reason[runs.outcome == "diverged"] = "diverged"
    excluded = [
        {"run": str(run), "reason": why} for run, why in zip(runs.run, reason, strict=True) if why
    ]
    kept = runs.assign(loss=loss)[reason == ""]
    kept = kept.sort_values(["N", "D", "run"], ignore_index=True)
    return kept, excluded


@dataclass(frozen=True)
class Sample:
    """Points that a law is fitted to, with what is told of them.

    Attributes:
        law: The law.
        frame: A row a point: `run`, the variables, the response (`loss` where it is one), and more.
        points: The same for the fit.
        where: Where they are from, for messages.
        excluded: Runs that were left out, with the reason.
        inputs: Files.
        notes: Further entries for the fit JSON.
        redraw: Gives replicates; absent where these are draws of the points' runs.
    """

    law: Law
    frame: pd.DataFrame
    points: Points
    where: str
    excluded: list[Exclusion]
    inputs: list[str]
    notes: dict[str, Any] = field(default_factory=dict)
    redraw: Callable[[int, int], Resamples | Sequence[Resamples]] | None = None

    def resamples(self, number: int, seed: int) -> Resamples | Sequence[Resamples]:
        """Return replicates."""
        redraw = self.redraw or (lambda number, seed: resample(self.points, number, seed))
        return redraw(number, seed)


def make_sample(
    law: Law,
    frame: pd.DataFrame,
    where: str,
    excluded: list[Exclusion],
    inputs: list[str],
    *,
    weights: Array | None = None,
    notes: dict[str, Any] | None = None,
    redraw: Callable[[int, int], Resamples | Sequence[Resamples]] | None = None,
) -> Sample:
    """Return a sample of points that can determine a law.

    Args:
        law: The law.
        frame: A row a point: `run`, the variables and the response by their names.
        where: Where they are from.
        excluded: What was left out.
        inputs: Files.
        weights: Of the points; equal when absent.
        notes: Further entries for the fit JSON.
        redraw: Gives replicates.

    Raises:
        TooFewRunsError: When there are fewer points than parameters, or a variable does not vary.
    """
    frame = frame.reset_index(drop=True)
    _check_enough(law, frame, excluded, where)
    response, _ = law.response
    points = Points(
        x={name: frame[name].to_numpy(dtype=float) for name in law.variables},
        y=frame[response].to_numpy(dtype=float),
        run=np.unique(frame["run"], return_inverse=True)[1].astype(np.int64),
        weights=np.ones(len(frame)) if weights is None else weights,
    )
    shown = frame.rename(columns={"L": "loss"}) if response == "L" else frame
    return Sample(law, shown, points, where, excluded, inputs, notes or {}, redraw)


def finals(law: Law, folders: Sequence[Path], rules: Rules) -> Sample:
    """Return the last or best losses of runs as points.

    Raises:
        InputError: When a table is missing, or there are too few runs.
    """
    runs, excluded = select_runs(law, folders, rules)
    columns = list(dict.fromkeys(["run", "N", *law.variables]))
    frame = runs[columns].assign(L=runs["loss"])
    inputs = [str(folder / "runs.parquet") for folder in folders]
    return make_sample(law, frame, join(folders), excluded, inputs)


def seed_noise(runs: pd.DataFrame) -> float:
    """Return the standard deviation of log losses between runs of other seeds; 0 where unknown.

    Args:
        runs: Rows of the runs tables.
    """
    alike = [name for name in SEEDS_APART if name in runs]
    if "seed" not in runs or not alike:
        return 0.0
    logs = np.log(runs["test_loss"].where(runs["test_loss"] > 0))
    groups = logs.groupby([runs[name] for name in alike])
    freedom = (groups.count() - 1).clip(lower=0)
    if not freedom.sum():
        return 0.0
    return float(np.sqrt((groups.var() * freedom).sum() / freedom.sum()))


def _check_enough(law: Law, frame: pd.DataFrame, excluded: list[Exclusion], where: str) -> None:
    reasons = pd.Series([row["reason"] for row in excluded], dtype=str).value_counts().to_dict()
    left_out = "".join(f"; {count} left out: {reason}" for reason, count in reasons.items())
    found = f"found {frame['run'].nunique() if len(frame) else 0} runs{left_out}"
    names = ", ".join(law.parameters)
    shortage = f"expected at least {len(law.parameters)}, one for each of {names}"
    if frame.empty:
        raise TooFewRunsError(f"{where}: too few points for {law.name}: {shortage}; {found}")
    variables = list(law.variables)
    distinct = frame[variables].drop_duplicates()
    for variable in variables:
        if distinct[variable].nunique() < 2:
            raise TooFewRunsError(
                f"{where}: {law.name} needs runs of at least two values of {variable}, "
                f"but all have {variable} = {frame[variable].iloc[0]:.10g}; {found}"
            )
    if len(distinct) < len(law.parameters):
        raise TooFewRunsError(
            f"{where}: too few points for {law.name}: {shortage}; "
            f"found {len(distinct)} distinct values of ({', '.join(variables)}); {found}"
        )


def _require(runs: pd.DataFrame, folders: Sequence[Path], column: str) -> None:
    if column not in runs:
        raise InputError(f"{join(folders)}: runs.parquet has no column {column}")


def join(folders: Sequence[Path]) -> str:
    """Return folders as text."""
    return ", ".join(map(str, folders))
