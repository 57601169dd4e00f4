"""Forms of a law judged by prediction: the largest runs are foretold from the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scaling_laws.errors import InputError, TooFewRunsError
from scaling_laws.laws.estimate import estimate, resample
from scaling_laws.laws.fit import ROBUST, WIDTH, check_options, sample_of
from scaling_laws.laws.forms import LAWS, Law, get_law
from scaling_laws.laws.minimise import Objective
from scaling_laws.laws.own import LARGEST_VOCABULARY, read_own
from scaling_laws.laws.paper import Constant
from scaling_laws.laws.points import Rules, Sample, make_sample
from scaling_laws.laws.special import Line
from scaling_laws.output import atomic

JOINT = ("L_ND", "L_ND_rejected", "chinchilla")
"""Forms of the loss in model size and data that are compared with each other."""


class Verdict(NamedTuple):
    """How a form did.

    Attributes:
        form: Its equation, and how N is counted where that differs.
        runs: How many points were held out.
        observed: Their mean loss.
        predicted: What was foretold for it.
        error: Mean of the absolute relative errors, in percent.
        low: Lower end of the interval of a run, at the mean.
        high: Upper end.
        held: How many of them lay in their intervals.
        status: Of the fit to the rest.
    """

    form: str
    runs: int
    observed: float
    predicted: float
    error: float
    low: float
    high: float
    held: int
    status: str


def judge(
    law: str,
    tables: list[Path] | None = None,
    *,
    runs: Path | None = None,
    column: list[str] | None = None,
    json: Path | None = None,
    hold_out: int = 1,
    objective: Literal["huber", "lad", "ols"] | None = None,
    delta: float = 1e-3,
    drop_highest_loss: int = 0,
    vocabulary: int = LARGEST_VOCABULARY,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    minimum_layers: int = 2,
    seed: int = 0,
) -> None:
    """Hold out the largest runs, foretell their loss from the others, and say how far off that is.

    Done for the law as published, with and without an irreducible term, for a logarithm (figure
    23), for the other joint forms, and with all parameters counted (Pearce & Song 2024). The
    interval is that of a run: the law's, and the scatter of the fitted runs about it. Errors are
    means over the points that were held out, of relative errors; `inside` counts how many of these
    points lie in their own intervals.

    Args:
        law: A law of the loss in N, D or both, or in C and M.
        tables: Folders of studies, each with runs.parquet.
        runs: Table of runs instead, as in `fit`.
        column: A quantity's column in it, as N='Model Size'.
        json: File to write the verdicts to.
        hold_out: How many of the largest values of compute are held out, with all their runs.
        objective: Huber's function, least absolute deviations or ordinary least squares.
        delta: Where Huber's function turns linear.
        drop_highest_loss: Rows with the highest loss that are left out.
        vocabulary: Size of the vocabulary; no loss is above its logarithm.
        bootstrap: Bootstrap replicates.
        confidence: Level of the intervals.
        minimum_layers: Shallower models are left out of laws of the size alone.
        seed: Seed of the bootstrap.

    Raises:
        InputError: If the law is unknown or not of such a loss, or too few runs are left.
    """
    form = get_law(law)
    if not form.of_loss or form.loss not in ("test_loss", "best_test_loss"):
        raise InputError(
            f"{law}: expected a law of the loss of runs, such as L_N, L_ND, chinchilla"
        )
    if (runs is None) == (not tables):
        raise InputError(
            "expected folders of studies, or --runs with a table of runs, and not both"
        )

    check_options(json, tables, column, drop_highest_loss, vocabulary)

    def sample(of: Law, rules: Rules) -> Sample:
        if runs is not None:
            return read_own(of, runs, column or [], drop_highest_loss, vocabulary)
        return sample_of(of, tables or [], rules)

    kind = objective or ("huber" if law in ROBUST else "ols")
    verdicts = []
    for name, other, rules in _forms(form, own=runs is not None, minimum_layers=minimum_layers):
        found = sample(form, rules)
        points = replace(found, law=other)
        goal = Objective(kind, delta, "linear" if isinstance(other.structure, Line) else "log")
        verdicts.append(_verdict(name, points, goal, hold_out, bootstrap, confidence, seed))
    rows = [verdict._asdict() for verdict in verdicts]
    if json is not None:
        with atomic(json) as partial:
            content: dict[str, Any] = {"law": law, "hold_out": hold_out, "forms": rows}
            partial.write_text(dumps(content, indent=2) + "\n")
    _show(verdicts, confidence)


def held_out(
    judged: list[str],
    *,
    output: Path,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    minimum_layers: int = 2,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge several laws by their largest run, as `judge` does one.

    Args:
        judged: Laws with the folders of their studies, as L_ND=tables/model_size,tables/data_size;
            those that are not of the loss of runs are passed over.
        output: CSV file: law, and what `judge` prints; a law with too few runs has a row with the
            status and why alone.
        bootstrap: Bootstrap replicates.
        confidence: Level of the intervals.
        minimum_layers: Shallower models are left out of laws of the size alone.
        seed: Seed of the bootstrap.

    Raises:
        InputError: If a law is unknown, or a table is missing or damaged.
    """
    rows: list[dict[str, Any]] = []
    for text in judged:
        name, _, folders = text.partition("=")
        if not folders:
            raise InputError(f"{text}: expected a law and its studies, as L_N=tables/model_size")
        form = get_law(name)
        if not form.of_loss or form.loss not in ("test_loss", "best_test_loss"):
            continue
        tables = [Path(folder) for folder in folders.split(",")]
        goal = Objective("huber" if name in ROBUST else "ols")
        for kind, other, rules in _forms(form, own=False, minimum_layers=minimum_layers):
            straight = replace(goal, space="linear") if isinstance(other.structure, Line) else goal
            try:
                points = replace(sample_of(form, tables, rules), law=other)
                found = _verdict(kind, points, straight, 1, bootstrap, confidence, seed)
                rows.append({"law": form.symbol, "name": name, **found._asdict()})
            except TooFewRunsError as error:
                why = str(error).partition(": ")[2]
                rows.append(
                    {
                        "law": form.symbol,
                        "name": name,
                        "form": kind,
                        "status": "not_identified",
                        "why": why,
                    }
                )
    columns = ["law", "name", *Verdict._fields, "why"]
    with atomic(output) as partial:
        pd.DataFrame(rows, columns=columns).to_csv(partial, index=False)
    return {"rows": len(rows)}


def _forms(form: Law, own: bool, minimum_layers: int) -> Iterator[tuple[str, Law, Rules]]:
    """Yield the forms that are compared: name, law and rules of the runs."""
    rules = Rules(minimum_layers)
    yield form.equation, form, rules
    floor = form.parameters.keys() & {"E"}
    try:
        other = form.with_floor(not floor)
        yield other.equation, other, rules
    except InputError:
        pass  # a law that has no such form
    if len(form.variables) == 1:
        (variable,) = form.variables
        yield f"L({variable}) = a + b ln {variable}", _logarithm(form, variable), rules
    if form.name in JOINT:
        for name in JOINT:
            if name != form.name:
                yield LAWS[name].equation, LAWS[name], rules
    if not own and "N" in form.variables:
        yield f"{form.equation}, N with embeddings", form, replace(rules, count="N_total")


def logarithm(x: npt.ArrayLike, loss: npt.ArrayLike) -> tuple[float, float]:
    """Return a and b of the least squares of L = a + b ln x, the comparison of figure 23.

    Args:
        x: Size, tokens or compute.
        loss: In nats per token.
    """
    b, a = np.polyfit(np.log(np.asarray(x, dtype=float)), np.asarray(loss, dtype=float), 1)
    return float(a), float(b)


def _logarithm(form: Law, variable: str) -> Law:
    """Return the comparison of figure 23, a loss that falls with a logarithm."""
    nothing = Constant(None, "nats", "Figure 23")
    return replace(
        form,
        name=f"{form.name}_log",
        equation=f"L({variable}) = a + b ln {variable}",
        parameters={"a": nothing, "b": nothing},
        structure=Line(variable, "a", "b"),
    )


def _verdict(
    name: str,
    sample: Sample,
    goal: Objective,
    hold_out: int,
    bootstrap: int,
    confidence: float,
    seed: int,
) -> Verdict:
    law = sample.law
    frame = sample.frame.rename(columns={"loss": "L"})
    # All points of a run go together: its learning curve gives its end away.
    cost = _cost(law, frame).groupby(frame["run"]).transform("max").to_numpy()
    held = cost >= np.unique(cost)[-min(hold_out, len(np.unique(cost)))]
    weights = sample.points.weights[~held]
    rest = make_sample(
        law, frame[~held], sample.where, sample.excluded, sample.inputs, weights=weights
    )
    drawn = resample(rest.points, bootstrap, seed)
    found = estimate(law, rest.points, drawn, objective=goal, confidence=confidence)
    x = {variable: frame.loc[held, variable].to_numpy(dtype=float) for variable in law.variables}
    observed = frame.loc[held, "L"].to_numpy(dtype=float)
    predicted = law(found.constants, **x)
    residual = np.log(rest.points.y) - np.log(found.predicted.clip(1e-12))
    free = max(rest.points.runs - len(law.parameters), 1)
    residual = residual * np.sqrt(len(residual) / free)
    generator = np.random.default_rng(seed)
    rows = found.draws[np.isfinite(found.draws).all(axis=1)]
    if len(rows) < 2:
        raise TooFewRunsError(
            f"{sample.where}: too few of the runs that are left determine {law.name}"
        )
    foretold = np.array(
        [law(dict(zip(law.parameters, row, strict=True)), **x) for row in rows]
    ) * np.exp(generator.choice(residual, size=(len(rows), 1)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(foretold, [tail, 1 - tail], axis=0)
    return Verdict(
        form=name,
        runs=int(held.sum()),
        observed=float(observed.mean()),
        predicted=float(predicted.mean()),
        error=100 * float(np.abs(predicted / observed - 1).mean()),
        low=float(low.mean()),
        high=float(high.mean()),
        held=int(((low <= observed) & (observed <= high)).sum()),
        status=found.status,
    )


def _cost(law: Law, frame: pd.DataFrame) -> pd.Series:
    """Return what runs are ordered by: compute where it is known, else the variable itself."""
    variables = set(law.variables)
    if "C" in variables:
        return frame["C"]
    return frame[[name for name in ("N", "D") if name in variables]].prod(axis=1)


def _show(verdicts: list[Verdict], confidence: float) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, WIDTH)
    table = Table("form", box=None, pad_edge=False)
    for title in (
        "held out",
        "observed",
        "foretold",
        "error",
        f"{100 * confidence:g} %",
        "inside",
        "fit",
    ):
        table.add_column(title, justify="left" if title == "fit" else "right")
    for verdict in verdicts:
        table.add_row(
            escape(verdict.form),
            str(verdict.runs),
            f"{verdict.observed:.4f}",
            f"{verdict.predicted:.4f}",
            f"{verdict.error:.2f} %",
            f"{verdict.low:.4f} to {verdict.high:.4f}",
            f"{verdict.held} of {verdict.runs}",
            verdict.status,
        )
    console.print(table)
    best = min(verdicts, key=lambda verdict: verdict.error)
    console.print(f"nearest: {escape(best.form)}, {best.error:.2f} %")
