"""What the paper says of learning curves, other text, positions and batches, held against runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from scipy.stats import spearmanr

from scaling_laws.errors import InputError, TooFewRunsError
from scaling_laws.laws.batch import reach, scans_of
from scaling_laws.tables import read_table

LEVELS = 6  # losses at which runs are compared
FEWEST = 3  # runs, batches, positions or seeds that a trend is seen in
WORDS = {True: "holds", False: "does not hold", None: "not enough range"}
"""What is said of a claim."""
RUNS = ("run", "study", "n_ctx", "N", "B", "lr", "seed", "test_loss", "outcome")


class Claim(NamedTuple):
    """A statement of the paper, what was found, and whether it holds.

    Attributes:
        statement: The paper's.
        found: Numbers, a line each.
        holds: None where there are too few runs to tell.
    """

    statement: str
    found: list[str]
    holds: bool | None


class Tables(NamedTuple):
    """The tables of one results folder; runs are those that did not diverge."""

    runs: pd.DataFrame
    curves: pd.DataFrame
    evaluations: pd.DataFrame
    positions: pd.DataFrame

    def of(self, study: str) -> pd.DataFrame:
        """Return the runs of a study, ordered by N."""
        wanted = self.runs["study"].map(lambda names: study in names)
        return self.runs[wanted].sort_values(["N", "run"])


def claims(results: Path) -> None:
    """Print what the paper claims of its runs, and what the tables of a results folder say.

    Args:
        results: Folder of everything computed.

    Raises:
        InputError: If a table is missing.
    """
    tables = read_tables(results / "tables")
    console = Console(highlight=False, soft_wrap=True)
    colours = {True: "green", False: "red", None: "default"}
    for claim in map(_judge(tables), CLAIMS):
        colour = colours[claim.holds]
        console.print(f"{claim.statement}: [{colour}]{WORDS[claim.holds]}[/]")
        for line in claim.found:
            console.print(f"    {escape(line)}")


def read_tables(folder: Path) -> Tables:
    """Return the tables of a folder.

    Raises:
        InputError: If one is missing or damaged.
        TooFewRunsError: If there is no run, or every one diverged.
    """
    runs = read_table(folder / "runs.parquet", RUNS)
    sound = runs["outcome"] != "diverged"
    if not sound.any():
        found = "every run diverged" if len(runs) else "no run"
        raise TooFewRunsError(f"{folder / 'runs.parquet'}: {found}; expected some that finished")
    evaluations = read_table(folder / "evaluations.parquet", ("run", "step", "corpus", "loss"))
    if len(evaluations) and "test" not in set(evaluations["corpus"]):
        found = ", ".join(sorted(set(evaluations["corpus"])))
        raise InputError(f"{folder / 'evaluations.parquet'}: no corpus test; found {found}")
    return Tables(
        runs[sound],
        read_table(folder / "curves.parquet", ("run", "step", "tokens", "test_loss")),
        evaluations,
        read_table(folder / "positions.parquet", ("run", "step", "corpus", "position", "loss")),
    )


def sample_efficiency(tables: Tables) -> Claim:
    """Tell whether larger models reach a loss in fewer tokens (section 1.1, figure 2)."""
    first = tables.of("model_size").drop_duplicates("N")
    reached = {
        N: _reached(tables.curves[tables.curves["run"] == run])
        for N, run in zip(first["N"], first["run"], strict=True)
    }
    lines, trends = [], []
    for loss in _levels(tables.curves[tables.curves["run"].isin(first["run"])]):
        tokens = {N: of(loss) for N, of in reached.items() if math.isfinite(of(loss))}
        if len(tokens) >= FEWEST:
            trends.append(float(spearmanr(list(tokens), list(tokens.values())).statistic))
            small, large = min(tokens), max(tokens)
            lines.append(
                f"loss {loss:.2f}: {tokens[small]:.3g} tokens at N = {small:,}, "
                f"{tokens[large]:.3g} at N = {large:,}; rank correlation over {len(tokens)} sizes "
                f"{trends[-1]:+.2f}"
            )
    holds = all(trend < 0 for trend in trends) if trends else None
    return Claim("Larger models reach each loss in fewer tokens", lines, holds)


def other_text(tables: Tables) -> Claim:
    """Tell whether loss on other text falls with that on the test split (section 3.2.2)."""
    last = _last(tables.evaluations, tables.of("model_size"))
    wide = last.pivot_table(index="run", columns="corpus", values="loss")
    lines, trends = [], []
    for corpus in wide.columns.drop("test") if len(wide) >= FEWEST else []:
        offset = wide[corpus] - wide["test"]
        trends.append(float(spearmanr(wide["test"], wide[corpus]).statistic))
        slope = np.polyfit(wide["test"], wide[corpus], 1)[0]
        lines.append(
            f"{corpus}: offset {offset.mean():+.3f} nats, standard deviation {offset.std():.3f} "
            f"over {len(wide)} runs; slope {slope:.2f}, rank correlation {trends[-1]:+.2f}"
        )
    holds = all(trend > 0.9 for trend in trends) if trends else None
    return Claim("Loss on other text falls with loss on the test split", lines, holds)


def positions(tables: Tables) -> Claim:
    """Tell whether loss falls along the context, and more so for larger models (appendix D.5)."""
    sizes = tables.of("model_size").drop_duplicates("N")
    last = _last(tables.positions, sizes)
    last = last[last["corpus"] == "test"]
    drops: dict[int, float] = {}
    lines = []
    for run, N, n_ctx in zip(sizes["run"], sizes["N"], sizes["n_ctx"], strict=True):
        of_run = last[last["run"] == run]
        early = of_run.loc[of_run["position"].between(2, 5), "loss"].mean()
        late = of_run.loc[of_run["position"] > n_ctx / 2, "loss"].mean()
        if math.isfinite(early) and math.isfinite(late):
            drops[int(N)] = float(early - late)
            lines.append(
                f"N = {N:,}: {early:.3f} nats at positions 2 to 5, {late:.3f} in the second half "
                f"of {n_ctx}; falls by {early - late:.3f}"
            )
    if len(drops) < FEWEST:
        return Claim("Loss falls with the position, faster for larger models", lines, None)
    trend = float(spearmanr(list(drops), list(drops.values())).statistic)
    lines.append(f"rank correlation of the fall with N: {trend:+.2f}")
    holds = all(drop > 0 for drop in drops.values()) and trend > 0
    return Claim("Loss falls with the position, faster for larger models", lines, holds)


def batches(tables: Tables) -> Claim:
    """Tell whether larger batches need fewer steps and more tokens (section 5.1, figure 18)."""
    lines: list[str] = []
    seen: list[bool] = []
    scans, _ = scans_of(tables.of("batch_size"), tables.curves)
    for scan in scans:
        levels = scan.levels(LEVELS)
        steps = scan.steps(levels, np.zeros((1, len(scan.run))))
        S_min, E_min = scan.hyperbolae(steps, np.ones((1, len(scan.run)), dtype=bool))
        best = scan.best(steps)[0]
        for level, S, least, tokens in zip(levels, best.T, S_min[0], E_min[0], strict=True):
            reached = np.isfinite(S)
            if reached.sum() < FEWEST:
                continue
            B, S = np.unique(scan.B)[reached], S[reached]
            seen.append(bool((np.diff(S) < 0).all() and (np.diff(B * S) > 0).all()))
            critical = "B_crit not identified"
            if math.isfinite(least):
                critical = (
                    f"S_min {least:.3g}, E_min {tokens:.3g}, B_crit {tokens / least:.3g} tokens"
                )
            lines.append(
                f"N = {scan.N:,}, loss {math.exp(level):.2f}, "
                f"B = {B[0]:.0f} to {B[-1]:.0f} tokens: steps {S[0]:.0f} to {S[-1]:.0f}, "
                f"tokens {B[0] * S[0]:.3g} to {B[-1] * S[-1]:.3g}; {critical}"
            )
    statement = "Larger batches reach a loss in fewer steps and more tokens"
    return Claim(statement, lines, all(seen) if seen else None)


def seeds(tables: Tables) -> Claim:
    """Tell how far runs lie apart that differ in their seed alone (section 4.2: 0.02 nats).

    Two seeds give a number, but no judgement: their spread is off by a factor of two or more
    in two of five cases.
    """
    alike = ["N", "n_ctx", "B", "lr", "tokens", "D", "dropout", "schedule", "d_model", "n_layer"]
    columns = [column for column in alike if column in tables.runs]
    statement = "Seeds move the final loss by some 0.02 nats"
    lines, variances, counts = [], [], []
    for _, group in tables.runs.groupby(columns):
        losses = group.drop_duplicates("seed")["test_loss"].dropna()
        if len(losses) > 1:
            variances.append(float(losses.var()))
            counts.append(len(losses))
            lines.append(
                f"N = {group['N'].iloc[0]:,}: standard deviation {losses.std():.4f} nats over "
                f"{len(losses)} seeds"
            )
    if not variances:
        return Claim(statement, [], None)
    pooled = math.sqrt(float(np.average(variances, weights=np.array(counts) - 1)))
    lines.append(f"pooled: {pooled:.4f} nats; the paper has 0.02, and 0.05 in figure 22")
    return Claim(statement, lines, pooled < 0.05 if max(counts) >= FEWEST else None)


CLAIMS: tuple[Callable[[Tables], Claim], ...] = (
    sample_efficiency,
    other_text,
    positions,
    batches,
    seeds,
)


def _judge(tables: Tables) -> Callable[[Callable[[Tables], Claim]], Claim]:
    return lambda claim: claim(tables)


def _last(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each run's last step."""
    table = table[table["run"].isin(runs["run"])]
    return table[table["step"] == table.groupby("run")["step"].transform("max")]


def _reached(curve: pd.DataFrame) -> Callable[[float], float]:
    """Return the function that gives the tokens at which a run first reaches a loss.

    It is infinite for a loss that the run never reaches, or had reached when first evaluated.
    """
    curve = curve[curve["step"] > 0].sort_values("step").dropna(subset=["test_loss"])
    amounts = np.log(curve["tokens"].to_numpy(dtype=float))
    least = np.minimum.accumulate(np.log(curve["test_loss"].to_numpy(dtype=float)))

    def reached(loss: float) -> float:
        return float(np.exp(reach(amounts, least, np.array(math.log(loss)))))

    return reached


def _levels(curves: pd.DataFrame) -> Iterable[float]:
    """Return losses, highest first, that most of the runs pass through."""
    ends = curves.groupby("run")["test_loss"].agg(["first", "min"]).dropna()
    if len(ends) < FEWEST:
        return []
    high, low = float(ends["first"].min()), float(ends["min"].median())
    return [] if not low < high else [float(x) for x in np.linspace(high, low, LEVELS + 2)[1:-1]]
