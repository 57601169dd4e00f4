"""Fits of the laws: to tables of studies, or to anyone's table of runs."""

from __future__ import annotations

from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scaling_laws.errors import InputError
from scaling_laws.laws.batch import critical_batches
from scaling_laws.laws.curves import curve_points, frontier
from scaling_laws.laws.estimate import ROUNDING, STARTS, Estimate, Interval, estimate
from scaling_laws.laws.forecast import read_fit
from scaling_laws.laws.forms import LAWS, Law, get_law
from scaling_laws.laws.isoflop import isoflop
from scaling_laws.laws.minimise import Objective
from scaling_laws.laws.own import LARGEST_VOCABULARY, read_own
from scaling_laws.laws.points import (
    RUN_COLUMNS,
    Rules,
    Sample,
    finals,
    read_studies,
    seed_noise,
)
from scaling_laws.laws.special import Repeated
from scaling_laws.models.counts import FLOP_PER_PF_DAY
from scaling_laws.output import atomic

ROBUST = ("chinchilla", "gadre", "muennighoff")
"""Laws whose authors use Huber's function; the others are fitted by squares."""
CORRELATED = 0.5  # of neighbouring residuals: a curve's points, not runs
FEWEST_NEIGHBOURS = 8
WIDTH = 120  # characters of a table, also where nobody looks at a terminal
DIGITS = 7  # of the replicates' constants that are kept


def fit(
    law: str,
    tables: list[Path] | None = None,
    *,
    runs: Path | None = None,
    column: list[str] | None = None,
    json: Path | None = None,
    objective: Literal["huber", "lad", "ols"] | None = None,
    delta: float = 1e-3,
    floor: bool | None = None,
    drop_highest_loss: int = 0,
    vocabulary: int = LARGEST_VOCABULARY,
    once: Path | None = None,
    starts: int = STARTS,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    minimum_layers: int = 2,
    count: Literal["N", "N_total"] = "N",
    flop: Literal["C", "C_full"] = "C",
    seed: int = 0,
) -> dict[str, Any]:
    """Fit a scaling law to runs of your own, or to the tables of studies.

    Residuals are those of logarithms. Intervals are percentiles over bootstrap replicates that draw
    runs, not points: the points of a learning curve share one run's luck. A replicate whose points
    do not determine the constants is counted, not drawn again. The profile of each constant, the
    values at which the others can still make the fit as good, is a second opinion; a constant that
    it leaves open on a side is reported without a number.

    The status is one of `converged`; `exact`, as many points as constants, so without intervals;
    `at_bound`, a constant ran to the end of its range; `stopped_early`, no minimum was reached;
    `not_identified`, the points leave constants open. The diagnosis says why.

    For example: scaling-laws fit chinchilla --runs runs.csv --column N='Model Size' --column
    C='Training FLOP' --column L=loss --drop-highest-loss 5.

    Args:
        law: Name of the law; an unknown one lists them.
        tables: Folders of studies, each with runs.parquet and curves.parquet.
        runs: Table of runs instead: CSV, TSV, Parquet or JSON Lines, with C in FLOP. D, C and N
            follow from each other by C = 6 N D.
        column: A quantity's column in it, as N='Model Size'; may be given several times. `run`
            names the column of the run that a row is of, `se` that of the loss's standard error.
        json: File to write the fit to.
        objective: Huber's function, least absolute deviations or ordinary least squares; when
            absent huber for the laws of Hoffmann, Gadre and Muennighoff, ols for the others.
        delta: Where Huber's function turns linear.
        floor: Fit the form with an irreducible term, or without; when absent as published.
        drop_highest_loss: Rows with the highest loss that are left out.
        vocabulary: Size of the vocabulary; no loss is above its logarithm.
        once: Fit of chinchilla to data seen once, on which muennighoff rests; when absent the
            constants of Muennighoff et al., which are those of their own corpus and tokenizer.
        starts: Places that the search begins at.
        bootstrap: Bootstrap replicates.
        confidence: Level of the intervals.
        minimum_layers: Shallower models are left out of laws of the size alone and of compute, as
            in the paper; 1 keeps all.
        count: What N counts in the tables: non-embedding parameters, or all.
        flop: What compute counts in the tables: 6 N a token, or attention and head as well.
        seed: Seed of the bootstrap.

    Returns:
        Status and number of points.

    Raises:
        InputError: If the law is unknown, a table or column is missing, a number cannot be what it
            is said to be, or there are fewer points than parameters.
    """
    form = get_law(law)
    if floor is not None:
        form = form.with_floor(floor)
    if form.name == "muennighoff" and once is not None:
        form = replace(form, structure=Repeated(_constants_of(once)))
    elif once is not None:
        raise InputError(f"--once: {law} does not rest on another fit; muennighoff does")
    if (runs is None) == (not tables):
        raise InputError(
            "expected folders of studies, or --runs with a table of runs, and not both"
        )
    check_options(json, tables, column, drop_highest_loss, vocabulary)
    if runs is not None and (count, flop) != ("N", "C"):
        raise InputError("--count and --flop go with studies; with --runs name the column meant")
    if runs is not None:
        sample = own_sample(form, runs, column or [], drop_highest_loss, vocabulary)
    else:
        sample = sample_of(form, tables or [], Rules(minimum_layers, count, flop))
    kind = objective or ("huber" if law in ROBUST else "ols")
    goal = Objective(kind, delta, "linear" if form.name == "LR_N" else "log")
    found = estimate(
        form,
        sample.points,
        sample.resamples(bootstrap, seed),
        objective=goal,
        starts=starts,
        confidence=confidence,
    )
    result = summarise(sample, found, goal, confidence) | {"seed": seed}
    if json is not None:
        with atomic(json) as partial:
            partial.write_text(dumps(result, indent=2, allow_nan=False) + "\n")
    show(result)
    return {"status": result["status"], "points": result["n_points"]}


def check_options(
    output: Path | None,
    tables: list[Path] | None,
    column: list[str] | None,
    drop_highest_loss: int,
    vocabulary: int,
) -> None:
    """Check options that the types do not: where to write, and which go with --runs alone.

    Raises:
        InputError: When one cannot be.
    """
    if output is not None and output.is_dir():
        raise InputError(f"--json {output}: a folder; expected a file's name")
    if tables and (column or drop_highest_loss or vocabulary != LARGEST_VOCABULARY):
        raise InputError("--column, --drop-highest-loss and --vocabulary go with --runs")


def _constants_of(path: Path) -> dict[str, float]:
    """Return the constants of a fit of chinchilla.

    Raises:
        InputError: When the file is none, or of the form without E.
    """
    found = read_fit(path)
    if found.law.name != "chinchilla" or "E" not in found.constants:
        raise InputError(f"--once {path}: a fit of {found.law.equation}; expected chinchilla's")
    return found.constants


def own_sample(
    law: Law, runs: Path, columns: list[str], drop_highest_loss: int, vocabulary: int
) -> Sample:
    """Return the points of a law from a table of runs.

    Raises:
        InputError: When the table is not what it should be, or has too few runs.
    """
    if law.name != "chinchilla_2":
        return read_own(law, runs, columns, drop_highest_loss, vocabulary)
    found = read_own(LAWS["chinchilla"], runs, columns, drop_highest_loss, vocabulary)
    return _of_equal_compute(law, found, noise=0.0)


def sample_of(law: Law, tables: list[Path], rules: Rules) -> Sample:
    """Return the points of a law from the tables of studies.

    Raises:
        InputError: When there are none for this law.
    """
    if law.name == "B_crit":
        return critical_batches(law, tables, rules)
    if law.name == "chinchilla_2":
        noise = seed_noise(read_studies(tables, "runs", RUN_COLUMNS))
        return _of_equal_compute(law, finals(LAWS["chinchilla"], tables, rules), noise)
    if law.loss == "curves":
        return (curve_points if law.name == "L_NS" else frontier)(law, tables, rules)
    if law.loss is not None:
        return finals(law, tables, rules)
    raise InputError(f"{law.name}: no table has its points; give them with --runs")


def _of_equal_compute(law: Law, runs: Sample, noise: float) -> Sample:
    """Return the best sizes for compute among runs, with what was noticed of these."""
    frame = runs.frame.rename(columns={"loss": "L"})
    frame["C"] = 6 * frame["N"] * frame["D"] / FLOP_PER_PF_DAY
    found = isoflop(law, frame, runs.where, runs.excluded, runs.inputs, noise)
    return replace(found, notes={**runs.notes, **found.notes})


def summarise(
    sample: Sample, found: Estimate, objective: Objective, confidence: float
) -> dict[str, Any]:
    """Return the content of a fit's JSON."""
    law, frame = sample.law, sample.frame
    on = sample.points.weights > 0
    y, predicted = sample.points.y[on], found.predicted[on]
    logarithmic = objective.space == "log"
    observed, foretold = (np.log(y), np.log(predicted)) if logarithmic else (y, predicted)
    variation = float(((observed - observed.mean()) ** 2).sum())
    explained = 1 - float(((observed - foretold) ** 2).sum()) / variation if variation else np.nan
    parameters = {}
    for name, constant in law.parameters.items():
        percentile = found.percentile.get(name, Interval(None, None))
        profile = found.profile.get(name)
        parameters[name] = {
            "value": _finite(found.constants[name]) if found.pinned(name) else None,
            "low": percentile.low,
            "high": percentile.high,
            "se": _spread(found, name),
            "unit": constant.unit,
            "paper": constant.value,
            "source": constant.source,
            "paper_other": constant.other,
            "other_source": constant.other_source,
            "profile": None if profile is None else {"low": profile.low, "high": profile.high},
        }
    diagnosis = [*found.diagnosis, *sample.notes.get("warnings", [])]
    repeated = {"once": dict(law.structure.once)} if isinstance(law.structure, Repeated) else {}
    if warning := _neighbours(sample, found):
        diagnosis.append(warning)
    return {
        "law": law.name,
        "equation": law.equation,
        "parameters": parameters,
        "confidence": confidence,
        "objective": {
            "name": str(objective),
            "kind": objective.kind,
            "value": found.objective,
        },
        "status": found.status,
        "n_points": len(frame),
        "r2_log": _finite(explained),
        "bootstrap": {"replicates": len(found.draws), "converged": found.converged},
        "diagnosis": diagnosis,
        "excluded": sample.excluded,
        "inputs": sample.inputs,
        "optimum": {name: _finite(value) for name, value in found.constants.items()},
        "starts": found.starts,
        "condition": _finite(found.condition),
        "loss": law.loss,
        "range": {
            name: [float(frame[name].min()), float(frame[name].max())] for name in law.variables
        },
        "decreasing": _decreasing(law, frame),
        **repeated,
        **sample.notes,
        "percentiles": list(found.level),
        "draws": {
            name: [_rounded(value) for value in column]
            for name, column in zip(law.parameters, found.draws.T, strict=True)
        },
        "points": frame.to_dict(orient="records"),
    }


def show(result: dict[str, Any]) -> None:
    """Print a fit."""
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, WIDTH)
    console.print(escape(result["equation"]))
    table = Table(box=None, pad_edge=False)
    level = f"{100 * result['confidence']:g} %"
    for title in (
        "",
        "value",
        f"{level} bootstrap",
        f"{level} profile",
        "paper",
        "unit",
    ):
        table.add_column(title, justify="left" if title in ("", "unit") else "right")
    for name, numbers in result["parameters"].items():
        profile = numbers["profile"] or {"low": None, "high": None}
        unit = "" if numbers["unit"] == "1" else numbers["unit"]
        value = "open" if numbers["value"] is None else f"{numbers['value']:.5g}"
        table.add_row(
            name,
            value,
            _between(numbers["low"], numbers["high"]),
            _between(profile["low"], profile["high"]) if numbers["profile"] else "–",
            "–" if numbers["paper"] is None else f"{numbers['paper']:.4g}",
            unit,
        )
    console.print(table)
    bootstrap, starts = result["bootstrap"], result["starts"]
    console.print(
        f"{result['objective']['name']}: {result['objective']['value']:.9e} over "
        f"{result['n_points']} points; R2 of the logarithms "
        f"{'–' if result['r2_log'] is None else format(result['r2_log'], '.4f')}"
    )
    console.print(
        f"{starts['agreeing']} of {starts['tried']} starts agree; {bootstrap['converged']} of "
        f"{bootstrap['replicates']} replicates converged"
    )
    reasons = pd.Series([row["reason"] for row in result["excluded"]], dtype=str).value_counts()
    for reason, count in reasons.items():
        console.print(f"{count} left out: {escape(str(reason))}")
    if "columns" in result:
        used = ", ".join(f"{name} = {column}" for name, column in result["columns"].items())
        console.print(f"columns: {escape(used)}")
    if "once" in result:
        used = ", ".join(f"{name} = {value:.5g}" for name, value in result["once"].items())
        console.print(f"data seen once: {used}")
    color = "green" if result["status"] == "converged" else "yellow"
    console.print(f"[{color}]{result['status']}[/]")
    for line in result["diagnosis"]:
        console.print(f"  {escape(line)}")


def _neighbours(sample: Sample, found: Estimate) -> str | None:
    """Return a warning where points look like those of a learning curve taken for runs."""
    frame, law = sample.frame, sample.law
    if not {"N", "D"} <= set(law.variables) or frame["run"].duplicated().any():
        return None
    logs = np.log(sample.points.y) - np.log(found.predicted)
    ordered = frame.assign(residual=logs).sort_values(["N", "D"])
    same = (ordered["N"].diff() == 0).to_numpy()[1:]
    pairs = np.column_stack(
        [ordered["residual"].to_numpy()[:-1], ordered["residual"].to_numpy()[1:]]
    )
    pairs = pairs[same]
    if len(pairs) < FEWEST_NEIGHBOURS or (pairs.std(axis=0) < ROUNDING).any():
        return None
    correlation = float(np.corrcoef(pairs.T)[0, 1])
    if correlation < CORRELATED:
        return None
    told = f"residuals of neighbouring D at one N are correlated ({correlation:.2f})"
    if "run" in sample.notes.get("columns", {"run": ""}):
        return f"{told}: another form may fit better, see `scaling-laws judge`"
    return (
        f"{told}: if these are points of learning curves, name their runs with --column "
        "run=COLUMN; else another form may fit better, see `scaling-laws judge`"
    )


def _spread(found: Estimate, name: str) -> float | None:
    """Return the standard error of a constant: the standard deviation over replicates."""
    draws = found.draws[:, list(found.law.parameters).index(name)]
    draws = draws[np.isfinite(draws)]
    if name not in found.percentile or len(draws) < 2:
        return None
    with np.errstate(over="ignore"):
        return _finite(float(draws.std(ddof=1)))


def _decreasing(law: Law, frame: pd.DataFrame) -> bool | None:
    """Tell whether the loss, averaged over runs of equal x, falls from each x to the next."""
    if len(law.variables) > 1 or not law.of_loss:
        return None
    (variable,) = law.variables
    means = frame.groupby(variable)["loss"].mean()
    return bool((means.diff().dropna() < 0).all())


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _rounded(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None


def _between(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "–"
    if high is None:
        return f"{low:.4g} or more"
    return f"{high:.4g} or less" if low is None else f"{low:.4g} to {high:.4g}"
